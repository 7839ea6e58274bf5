/*
 * A program of named cases, each of which states what a file system does. `PROGRAM list` prints the names,
 * `PROGRAM run NAME DIR` runs one in the empty directory DIR. Exit 0: it holds; 1: it does not, and stderr says where;
 * 77: this machine or file system does not offer the thing (the test wants the same answer from a local disk).
 */
#ifndef CASES_H
#define CASES_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_OFFERED = 77 };

__attribute__((format(printf, 3, 4), noreturn, unused)) static void fail(const char *file, int line, const char *format,
                                                                         ...) {
  int error = errno;
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "%s:%d: ", file, line);
  vfprintf(stderr, format, arguments);
  fprintf(stderr, " (errno %d: %s)\n", error, strerror(error));
  va_end(arguments);
  exit(1);
}

/* A condition that has to hold. */
#define CHECK(condition) ((condition) ? (void)0 : fail(__FILE__, __LINE__, "not so: %s", #condition))
/* A condition with what was seen instead. */
#define CHECK_SAYING(condition, ...) ((condition) ? (void)0 : fail(__FILE__, __LINE__, __VA_ARGS__))
/* A call that must not answer -1; gives its value. */
#define OK(call)                                                        \
  ({                                                                    \
    errno = 0;                                                          \
    long ok_value = (long)(call);                                       \
    if (ok_value == -1) fail(__FILE__, __LINE__, "%s failed", #call);   \
    ok_value;                                                           \
  })
/* A call that has to fail with this errno. */
#define FAILS(wanted, call)                                                                                 \
  do {                                                                                                      \
    errno = 0;                                                                                              \
    long fails_value = (long)(call);                                                                        \
    if (fails_value != -1) fail(__FILE__, __LINE__, "%s answered %ld, wanted %s", #call, fails_value, #wanted); \
    if (errno != (wanted)) fail(__FILE__, __LINE__, "%s: wanted %s", #call, #wanted);                       \
  } while (0)

struct test_case {
  const char *name;
  void (*run)(void);
};

__attribute__((unused)) static void not_offered(const char *what) {
  fprintf(stderr, "not offered here: %s\n", what);
  exit(NOT_OFFERED);
}

/* Writes or reads all of it. */
__attribute__((unused)) static void put(int fd, const void *bytes, size_t length, off_t offset) {
  for (size_t done = 0; done < length;)
    done += OK(pwrite(fd, (const char *)bytes + done, length - done, offset + (off_t)done));
}

__attribute__((unused)) static void get(int fd, void *bytes, size_t length, off_t offset) {
  for (size_t done = 0; done < length;) {
    ssize_t got = OK(pread(fd, (char *)bytes + done, length - done, offset + (off_t)done));
    CHECK_SAYING(got > 0, "the file ends %zu bytes early", length - done);
    done += (size_t)got;
  }
}

__attribute__((unused)) static void make_file(const char *name, const char *text) {
  int fd = OK(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  put(fd, text, strlen(text), 0);
  OK(close(fd));
}

__attribute__((unused)) static int is_all(const void *bytes, int value, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (((const unsigned char *)bytes)[i] != (unsigned char)value) return 0;
  return 1;
}

__attribute__((unused)) static struct stat stat_of(const char *name) {
  struct stat st;
  OK(lstat(name, &st));
  return st;
}

/* Runs `body` in a child that must end with 0. */
#define IN_CHILD(...)                                                              \
  do {                                                                              \
    fflush(NULL);                                                                   \
    pid_t in_child = OK(fork());                                                    \
    if (in_child == 0) {                                                            \
      __VA_ARGS__;                                                                       \
      _exit(0);                                                                     \
    }                                                                               \
    int in_child_status;                                                            \
    OK(waitpid(in_child, &in_child_status, 0));                                     \
    CHECK_SAYING(in_child_status == 0, "the child ended with %#x", in_child_status); \
  } while (0)

static int run_cases(int argc, char **argv, const struct test_case *cases, size_t count) {
  if (argc == 2 && strcmp(argv[1], "list") == 0) {
    for (size_t i = 0; i < count; i++) puts(cases[i].name);
    return 0;
  }
  if (argc != 4 || strcmp(argv[1], "run") != 0) {
    fprintf(stderr, "use: %s list | run NAME DIR\n", argv[0]);
    return 2;
  }
  if (chdir(argv[3]) != 0) {
    perror(argv[3]);
    return 2;
  }
  umask(022);
  alarm(300); /* a case that hangs has failed */
  for (size_t i = 0; i < count; i++)
    if (strcmp(cases[i].name, argv[2]) == 0) {
      cases[i].run();
      return 0;
    }
  fprintf(stderr, "no case %s\n", argv[2]);
  return 2;
}

#define CASES(...)                                                    \
  int main(int argc, char **argv) {                                   \
    const struct test_case cases[] = {__VA_ARGS__};                   \
    return run_cases(argc, argv, cases, sizeof cases / sizeof *cases); \
  }
#endif
