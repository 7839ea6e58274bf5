// ops JOB DIR COUNT: does one thing many times in one thread, and prints how many times a second (files), or MiB a
// second (bytes). Used by scripts/bench/run; a shell loop would measure the shell.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SMALL_BYTES = 4096, LARGE_BYTES = 1 << 20 };

static const char *directory;
static char buffer[LARGE_BYTES];

static double Now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void Fail(const char *what) {
  fprintf(stderr, "ops: %s: %s\n", what, strerror(errno));
  exit(1);
}

static const char *Name(const char *prefix, long number) {
  static char path[PATH_MAX];
  snprintf(path, sizeof(path), "%s/%s%06ld", directory, prefix, number);
  return path;
}

static void Create(long number) {
  const char *path = Name("f", number);
  const int file = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
  if (file < 0 || write(file, buffer, SMALL_BYTES) != SMALL_BYTES || close(file) != 0) Fail(path);
}

static void Stat(long number) {
  struct stat status;
  const char *path = Name("f", number);
  if (stat(path, &status) != 0) Fail(path);
}

static void Missing(long number) {
  struct stat status;
  const char *path = Name("missing", number);
  if (stat(path, &status) == 0 || errno != ENOENT) Fail(path);
}

static void ReadSmall(long number) {
  const char *path = Name("f", number);
  const int file = open(path, O_RDONLY);
  if (file < 0 || read(file, buffer, SMALL_BYTES) != SMALL_BYTES || close(file) != 0) Fail(path);
}

static void Unlink(long number) {
  const char *path = Name("f", number);
  if (unlink(path) != 0) Fail(path);
}

static int large = -1;

static void OpenLarge(int flags) {
  const char *path = Name("large", 0);
  large = open(path, flags, 0644);
  if (large < 0) Fail(path);
}

static void WriteLarge(long number) {
  memcpy(buffer, &number, sizeof(number)); // no two pieces alike: nothing can be saved by comparing them
  if (write(large, buffer, LARGE_BYTES) != LARGE_BYTES) Fail("write");
}

static void ReadLarge(long number) {
  (void)number;
  if (read(large, buffer, LARGE_BYTES) != LARGE_BYTES) Fail("read");
}

static void AppendLine(long number) {
  (void)number;
  if (write(large, buffer, 100) != 100) Fail("append");
}

struct Job {
  const char *name;
  void (*once)(long number);
  int flags; // of the one large file; -1: many small ones
  int sync;
};

static const struct Job jobs[] = {
    {"create", Create, -1, 0},
    {"stat", Stat, -1, 0},
    {"missing", Missing, -1, 0},
    {"read-small", ReadSmall, -1, 0},
    {"unlink", Unlink, -1, 0},
    {"write", WriteLarge, O_CREAT | O_TRUNC | O_WRONLY, 0},
    {"write-sync", WriteLarge, O_CREAT | O_TRUNC | O_WRONLY, 1},
    {"read", ReadLarge, O_RDONLY, 0},
    {"append", AppendLine, O_CREAT | O_APPEND | O_WRONLY, 0},
};

int main(int count, char **arguments) {
  if (count != 4) {
    fprintf(stderr, "usage: ops JOB DIR COUNT\n");
    return 2;
  }
  directory = arguments[2];
  const long times = atol(arguments[3]);
  for (size_t i = 0; i < LARGE_BYTES; i++) buffer[i] = (char)(i * 2654435761u >> 13);
  for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++) {
    const struct Job *job = &jobs[i];
    if (strcmp(job->name, arguments[1]) != 0) continue;
    const double start = Now();
    if (job->flags >= 0) OpenLarge(job->flags);
    for (long n = 0; n < times; n++) job->once(n);
    if (job->sync && fsync(large) != 0) Fail("fsync");
    if (large >= 0 && close(large) != 0) Fail("close");
    printf("%.3f\n", (double)times / (Now() - start));
    return 0;
  }
  fprintf(stderr, "ops: no job %s\n", arguments[1]);
  return 2;
}
