// ops JOB DIR COUNT [THREADS]: does one thing many times, and prints how many times a second (files), or MiB a second
// (bytes); `first` and `rename` print the seconds of one time. Used by scripts/bench/run; a shell loop would measure the shell.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SMALL_BYTES = 4096, LARGE_BYTES = 1 << 20, BLOCK_BYTES = 256 << 10, THREADS_MAX = 64 };

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
  if (read(large, buffer, LARGE_BYTES) != LARGE_BYTES) Fail("read");
  if (memcmp(buffer, &number, sizeof(number)) != 0) {
    errno = EBADMSG;
    Fail("other bytes than were written");
  }
}

static void AppendLine(long number) {
  (void)number;
  if (write(large, buffer, 100) != 100) Fail("append");
}

static off_t SizeOf(int file) {
  struct stat status;
  if (fstat(file, &status) != 0) Fail("fstat");
  return status.st_size;
}

static int OpenNamed(const char *name, int flags) {
  char path[PATH_MAX];
  snprintf(path, sizeof(path), "%s/%s", directory, name);
  const int file = open(path, flags, 0644);
  if (file < 0) Fail(path);
  return file;
}

// Appends the large file to `huge`, as cp of a file system that can share content does.
static void Grow(long number) {
  (void)number;
  const int from = OpenNamed("large000000", O_RDONLY);
  const int to = OpenNamed("huge", O_CREAT | O_WRONLY);
  const off_t size = SizeOf(from);
  off_t source = 0, target = SizeOf(to);
  while (source < size)
    if (copy_file_range(from, &source, to, &target, (size_t)(size - source), 0) <= 0) Fail("copy_file_range");
  if (close(from) != 0 || close(to) != 0) Fail("close");
}

// Changes one MiB in the middle of `huge`.
static void Edit(long number) {
  const int file = OpenNamed("huge", O_WRONLY);
  if (pwrite(file, buffer, LARGE_BYTES, SizeOf(file) / 2 + (number + 1) * 12345) != LARGE_BYTES) Fail("pwrite");
  if (close(file) != 0) Fail("close");
}

struct Share {
  int thread;
  int threads;
  long count;
};

// Each block once, in an order without a pattern; the number of blocks is a power of two.
static void *ReadBlocks(void *argument) {
  const struct Share *share = argument;
  char *block = malloc(BLOCK_BYTES);
  const long blocks = (long)(SizeOf(large) / BLOCK_BYTES);
  long at = 7;
  for (long n = 0; n < share->count; n++) {
    at = (at * 1229 + 2047) % blocks;
    if (n % share->threads != share->thread) continue;
    if (pread(large, block, BLOCK_BYTES, (off_t)at * BLOCK_BYTES) != BLOCK_BYTES) Fail("pread");
  }
  free(block);
  return NULL;
}

static double Random(long count, int threads) {
  pthread_t ids[THREADS_MAX];
  struct Share shares[THREADS_MAX];
  large = OpenNamed("large000000", O_RDONLY);
  const double start = Now();
  for (int i = 0; i < threads; i++) {
    shares[i] = (struct Share){i, threads, count};
    if (pthread_create(&ids[i], NULL, ReadBlocks, &shares[i]) != 0) Fail("pthread_create");
  }
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  return (double)count * BLOCK_BYTES / LARGE_BYTES / (Now() - start);
}

static int Compare(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Seconds to read one byte at a place of `huge` that nothing near was read of: the median of so many.
static double First(long count) {
  double seconds[64];
  const int file = OpenNamed("huge", O_RDONLY);
  const off_t size = SizeOf(file);
  for (long n = 0; n < count && n < 64; n++) {
    const double start = Now();
    // Not the same place of two copies of one source.
    if (pread(file, buffer, 1, (size / count * n + n * (16 << 20) + 12345) % size) != 1) Fail("pread");
    seconds[n] = Now() - start;
  }
  qsort(seconds, (size_t)count, sizeof(double), Compare);
  return seconds[count / 2];
}

// Seconds to give the directory `files` another name.
static double Rename(void) {
  char from[PATH_MAX], to[PATH_MAX];
  snprintf(from, sizeof(from), "%s/files", directory);
  snprintf(to, sizeof(to), "%s/renamed", directory);
  const double start = Now();
  if (rename(from, to) != 0) Fail("rename");
  return Now() - start;
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
    {"grow", Grow, -1, 0},
    {"edit", Edit, -1, 0},
    {"write", WriteLarge, O_CREAT | O_TRUNC | O_WRONLY, 0},
    {"write-sync", WriteLarge, O_CREAT | O_TRUNC | O_WRONLY, 1},
    {"read", ReadLarge, O_RDONLY, 0},
    {"append", AppendLine, O_CREAT | O_APPEND | O_WRONLY, 0},
};

static double Times(const struct Job *job, long times) {
  const double start = Now();
  if (job->flags >= 0) OpenLarge(job->flags);
  for (long n = 0; n < times; n++) job->once(n);
  if (job->sync && fsync(large) != 0) Fail("fsync");
  if (large >= 0 && close(large) != 0) Fail("close");
  return (double)times / (Now() - start);
}

static int Print(double figure) {
  printf("%.6f\n", figure);
  return 0;
}

int main(int count, char **arguments) {
  const char *name = count >= 4 ? arguments[1] : "";
  const int threads = count >= 5 ? atoi(arguments[4]) : 1;
  if (count < 4 || threads < 1 || threads > THREADS_MAX) {
    fprintf(stderr, "usage: ops JOB DIR COUNT [THREADS]\n");
    return 2;
  }
  directory = arguments[2];
  const long times = atol(arguments[3]);
  for (size_t i = 0; i < LARGE_BYTES; i++) buffer[i] = (char)(i * 2654435761u >> 13);
  if (strcmp(name, "random") == 0) return Print(Random(times, threads));
  if (strcmp(name, "first") == 0) return Print(First(times));
  if (strcmp(name, "rename") == 0) return Print(Rename());
  for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
    if (strcmp(jobs[i].name, name) == 0) return Print(Times(&jobs[i], times));
  fprintf(stderr, "ops: no job %s\n", name);
  return 2;
}
