/*
 * A conformance suite for the calls that work on names and attributes, after POSIX.1-2017 and the Linux manual. It
 * runs in any directory: what a local file system does there is the measure for a mount.
 *
 * A case is one expectation. Its name is the part, what `scope` says, who asks, and the call as it is written.
 */
#ifndef POSIX_H
#define POSIX_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

struct user {
  const char *name;
  uid_t uid;
  gid_t gid;
  int group_count;
  gid_t groups[4];
};

/* OWNER owns things, MATE is in OWNER's group, OTHER is in none of theirs. */
extern const struct user ROOT, OWNER, MATE, OTHER;
#define OWNER_ID 65534
#define MATE_ID 65533
#define OTHER_ID 65532
/* A supplementary group of OWNER and MATE. */
#define SHARED_GID 65531

/* 0 when an ordinary user runs the suite: parts that need root are left out, and device nodes too. */
extern int am_root;

enum kind { REGULAR, DIRECTORY, FIFO, BLOCK, CHARACTER, SOCKET, SYMLINK, KINDS };
extern const char *const kind_name[KINDS];
#define EACH_KIND(k) (int k = 0; k < KINDS; k++) if (am_root || (k != BLOCK && k != CHARACTER))

/* All of these end the suite when they fail: no case can go on without them. */
void make(enum kind kind, const char *path);
void make_as(enum kind kind, const char *path, mode_t mode, uid_t uid, gid_t gid);
void write_file(const char *path, const char *text);
void erase(const char *path);
/* Empties the directory the suite works in and gives it its first owner and mode back. */
void fresh(void);
void must(int done, const char *what);
void become(const struct user *user);
#define AS(user, ...) do { become(&(user)); __VA_ARGS__; become(&ROOT); } while (0)

/* Further cases are named with this. */
void scope(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Called before each call under test: see `commit_file` in posix-main.c. */
void settle(void);
void expect_result(int expected, int or_else, long result, int error, const char *call, int line);
void expect_value(long long expected, long long actual, const char *what, int line);
void expect_true(int held, const char *what, int line);
#define FAILS_EITHER(e1, e2, call) \
  do { settle(); errno = 0; long r_ = (long)(call); expect_result((e1), (e2), r_, errno, #call, __LINE__); } while (0)
#define FAILS(e, call) FAILS_EITHER(e, e, call)
#define OK(call) FAILS(0, call)
#define IS(expected, actual) expect_value((long long)(expected), (long long)(actual), #actual, __LINE__)
#define HOLDS(condition) expect_true(!!(condition), #condition, __LINE__)

/* Of the thing itself, not of what a symbolic link leads to; -1 when there is none. */
long long mode_of(const char *path);
long long uid_of(const char *path);
long long gid_of(const char *path);
long long nlink_of(const char *path);
long long ino_of(const char *path);
long long size_of(const char *path);
long long rdev_of(const char *path);
int kind_of(const char *path);
int exists(const char *path);

/*
 * What a call does to the times of a thing. `watch` remembers them and waits until the clock is past them; `watched`
 * expects that the times named in `changes` ("a", "m", "c") are newer now, those in capitals may be, and no others.
 */
void watch(const char *path, const char *changes);
void watched_at(int line);
#define watched() watched_at(__LINE__)

/* Opens and closes again. */
int opens(const char *path, int flags, mode_t mode);
int binds(const char *path);
/* Text of `length` times `c`; two of them may be in use at a time. */
char *repeat(char c, int length);

enum { NEEDS_ROOT = 1, ONLY_IF_NAMED = 2 /* and finds its directory as it is */ };
struct part {
  const char *name;
  void (*run)(void);
  int flags;
};
extern const struct part parts_of_paths[], parts_of_access[], parts_of_chmod[], parts_of_chown[],
    parts_of_create[], parts_of_link[], parts_of_mkdir[], parts_of_open[], parts_of_rename[],
    parts_of_rename_matrix[], parts_of_unlink[], parts_of_truncate[], parts_of_times[], parts_of_sticky[],
    parts_of_descriptors[], parts_of_data[], parts_of_versions[];
#endif
