/* open: every combination of flags over every kind, what it changes, and what it refuses. */
#include "posix.h"
#include <signal.h>
#include <sys/wait.h>

static const int access_flags[] = {O_RDONLY, O_WRONLY, O_RDWR};
static const int more_flags[] = {O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW};

static int combination(int bits) {
  int flags = 0;
  for (int i = 0; i < 6; i++)
    if (bits & 1 << i) flags |= more_flags[i];
  return flags;
}

/* What Linux answers for a thing that is there; `k` is KINDS for a missing name. Devices of this number do not exist. */
static int expected(int k, int access, int flags) {
  if ((flags & O_CREAT) && (flags & O_DIRECTORY)) return EINVAL;
  if (k == KINDS) return !(flags & O_CREAT) ? ENOENT : 0;
  if ((flags & O_CREAT) && (flags & O_EXCL)) return EEXIST;
  if (k == SYMLINK) {
    if (flags & O_NOFOLLOW) return flags & O_DIRECTORY ? ENOTDIR : ELOOP;
    return expected(KINDS, access, flags);
  }
  if (k == DIRECTORY) return (flags & O_CREAT) || access != O_RDONLY || (flags & O_TRUNC) ? EISDIR : 0;
  if (flags & O_DIRECTORY) return ENOTDIR;
  if (k == SOCKET) return ENXIO;
  if (k == FIFO) return access == O_WRONLY ? ENXIO : 0;
  return 0;
}

static void combinations(void) {
  for (int k = 0; k <= KINDS; k++) {
    if (k == BLOCK || k == CHARACTER) continue;
    for (int a = 0; a < 3; a++) {
      for (int bits = 0; bits < 64; bits++) {
        int flags = combination(bits), created = 0;
        fresh();
        if (k == REGULAR) write_file("f", "text");
        else if (k != KINDS) make(k, "f");
        int error = expected(k, access_flags[a], flags);
        if (error == 0) created = k == KINDS || k == SYMLINK;
        scope("%s, access %d, flags %06o", k == KINDS ? "missing" : kind_name[k], access_flags[a], flags);
        FAILS(error, opens("f", access_flags[a] | flags, 0640));
        if (k == REGULAR) IS(error == 0 && (flags & O_TRUNC) ? 0 : 4, size_of("f"));
        if (k == KINDS) IS(created, exists("f"));
        if (k == SYMLINK) IS(created, exists("nowhere"));
      }
    }
  }
}

static void times(void) {
  make(DIRECTORY, "d");
  watch("d", "mc");
  OK(opens("d/f", O_CREAT | O_WRONLY, 0644));
  watched();
  write_file("d/f", "text");
  watch("d", "");
  watch("d/f", "");
  OK(opens("d/f", O_CREAT | O_RDONLY, 0644));
  OK(opens("d/f", O_CREAT | O_RDWR, 0600));
  OK(opens("d/f", O_RDWR | O_APPEND, 0));
  FAILS(EEXIST, opens("d/f", O_CREAT | O_EXCL | O_RDWR, 0600));
  watched();
  IS(0644, mode_of("d/f"));
  watch("d", "");
  watch("d/f", "mc");
  OK(opens("d/f", O_WRONLY | O_TRUNC, 0));
  watched();
  IS(0, size_of("d/f"));
  write_file("d/f", "text");
  watch("d/f", "mc");
  OK(opens("d/f", O_RDWR | O_CREAT | O_TRUNC, 0600));
  watched();
  IS(0, size_of("d/f"));
  IS(0644, mode_of("d/f"));
}

/* The mode counts from the next open on: who makes a file has it open as asked. */
static void without_permissions(void) {
  for (int a = 0; a < 3; a++) {
    fresh();
    must(chmod(".", 0777) == 0, "chmod");
    scope("access %d", access_flags[a]);
    char text[4] = "";
    AS(OWNER, {
      int fd = open("f", O_CREAT | O_EXCL | access_flags[a], 0);
      HOLDS(fd >= 0);
      IS(0, mode_of("f"));
      FAILS(a == 0 ? EBADF : 0, write(fd, "abc", 3));
      FAILS(a == 1 ? EBADF : 0, pread(fd, text, 3, 0));
      FAILS(a == 0 ? EINVAL : 0, ftruncate(fd, 1));
      close(fd);
      FAILS(am_root ? EACCES : EACCES, opens("f", O_RDONLY, 0));
    });
    OK(unlink("f"));
  }
}

static void append(void) {
  char text[16];
  int a = open("f", O_CREAT | O_RDWR | O_APPEND, 0644);
  int b = open("f", O_RDWR);
  IS(3, write(a, "abc", 3));
  IS(2, pwrite(b, "XY", 2, 0));
  IS(2, write(a, "de", 2));
  IS(5, lseek(a, 0, SEEK_CUR));
  IS(0, lseek(a, 0, SEEK_SET));
  IS(1, write(a, "f", 1));
  IS(6, pread(b, text, sizeof text, 0));
  HOLDS(memcmp(text, "XYcdef", 6) == 0);
  OK(ftruncate(b, 2));
  IS(1, write(a, "z", 1));
  IS(3, size_of("f"));
  close(a);
  close(b);
}

static void directories(void) {
  make(DIRECTORY, "d");
  make(REGULAR, "f");
  must(symlink("d", "to-d") == 0 && symlink("f", "to-f") == 0, "symlink");
  FAILS(EISDIR, opens("d", O_WRONLY, 0));
  FAILS(EISDIR, opens("d", O_RDWR, 0));
  FAILS(EISDIR, opens("d", O_RDONLY | O_TRUNC, 0));
  FAILS(EISDIR, opens("d", O_CREAT, 0644));
  FAILS(EISDIR, opens("new/", O_CREAT | O_WRONLY, 0644));
  FAILS(EISDIR, opens("f/", O_CREAT | O_WRONLY, 0644));
  FAILS(ENOTDIR, opens("f/", O_RDONLY, 0));
  OK(opens("d/", O_RDONLY, 0));
  OK(opens("to-d/", O_RDONLY | O_NOFOLLOW, 0));
  OK(opens("to-d", O_RDONLY | O_DIRECTORY, 0));
  FAILS(ENOTDIR, opens("to-d", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0));
  FAILS(ENOTDIR, opens("to-f", O_RDONLY | O_DIRECTORY, 0));
  FAILS(ELOOP, opens("to-f", O_RDONLY | O_NOFOLLOW, 0));
  OK(opens("to-f", O_PATH | O_NOFOLLOW, 0));
  int fd = open("d", O_RDONLY);
  char text[4];
  FAILS(EISDIR, read(fd, text, 4));
  FAILS(EBADF, write(fd, text, 4));
  FAILS(EINVAL, ftruncate(fd, 0));
  close(fd);
  IS(0, exists("new"));
}

static void noatime(void) {
  make_as(REGULAR, "f", 0666, OWNER_ID, OWNER_ID);
  make_as(DIRECTORY, "d", 0777, OWNER_ID, OWNER_ID);
  AS(OWNER, OK(opens("f", O_RDONLY | O_NOATIME, 0)); OK(opens("d", O_RDONLY | O_NOATIME, 0)));
  AS(MATE, FAILS(EPERM, opens("f", O_RDONLY | O_NOATIME, 0)); FAILS(EPERM, opens("d", O_RDONLY | O_NOATIME, 0)));
  AS(OTHER, FAILS(EPERM, opens("f", O_RDWR | O_NOATIME, 0)));
  OK(opens("f", O_RDONLY | O_NOATIME, 0));
}

static void tmpfile_without_name(void) {
  struct stat st;
  make(DIRECTORY, "d");
  int fd = open("d", O_TMPFILE | O_RDWR, 0640);
  if (fd < 0 && errno == EOPNOTSUPP) return;
  HOLDS(fd >= 0);
  OK(fstat(fd, &st));
  IS(0, st.st_nlink);
  IS(0640, st.st_mode & 07777);
  IS(4, write(fd, "text", 4));
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  OK(linkat(AT_FDCWD, path, AT_FDCWD, "d/f", AT_SYMLINK_FOLLOW));
  IS(4, size_of("d/f"));
  IS(1, nlink_of("d/f"));
  close(fd);
  fd = open("d", O_TMPFILE | O_RDWR | O_EXCL, 0640);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  FAILS(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, "d/g", AT_SYMLINK_FOLLOW));
  close(fd);
  FAILS(EINVAL, opens("d", O_TMPFILE | O_RDONLY, 0640));
  FAILS(ENOTDIR, opens("d/f", O_TMPFILE | O_RDWR, 0640));
  FAILS(ENOENT, opens("missing", O_TMPFILE | O_RDWR, 0640));
}

/* A program that runs is not written to. */
static void busy_text(void) {
  int source = open("/bin/sleep", O_RDONLY), target = open("sleep", O_CREAT | O_WRONLY, 0755);
  char bytes[65536];
  for (ssize_t n; (n = read(source, bytes, sizeof bytes)) > 0;) must(write(target, bytes, n) == n, "copy");
  close(source);
  close(target);
  int ready[2];
  must(pipe2(ready, O_CLOEXEC) == 0, "pipe");
  pid_t child = fork();
  if (child == 0) {
    execl("./sleep", "sleep", "60", NULL);
    _exit(1);
  }
  close(ready[1]);
  char end;
  must(read(ready[0], &end, 1) == 0, "exec");
  close(ready[0]);
  long long size = size_of("sleep");
  watch("sleep", "A");
  FAILS(ETXTBSY, opens("sleep", O_WRONLY, 0));
  FAILS(ETXTBSY, opens("sleep", O_RDWR, 0));
  FAILS(ETXTBSY, opens("sleep", O_RDONLY | O_TRUNC, 0));
  FAILS(ETXTBSY, opens("sleep", O_WRONLY | O_TRUNC | O_CREAT, 0755));
  FAILS(ETXTBSY, truncate("sleep", 123));
  watched();
  IS(size, size_of("sleep"));
  OK(opens("sleep", O_RDONLY, 0));
  OK(chmod("sleep", 0700));
  OK(rename("sleep", "slept"));
  OK(unlink("slept"));
  kill(child, 9);
  int status;
  must(waitpid(child, &status, 0) == child, "waitpid");
}

static void execution(void) {
  make_as(REGULAR, "script", 0755, OWNER_ID, OWNER_ID);
  write_file("script", "#!/bin/sh\nexit 7\n");
  static const struct { mode_t mode; int status[3]; } wanted[] = {
      {0700, {7, 126, 126}}, {0750, {7, 7, 126}}, {0755, {7, 7, 7}}, {0655, {126, 7, 7}}, {0745, {7, 126, 7}}, {0666, {126, 126, 126}}};
  static const struct user *const users[] = {&OWNER, &MATE, &OTHER};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    must(chmod("script", wanted[i].mode) == 0, "chmod");
    for (int u = 0; u < 3; u++) {
      scope("mode %03o", wanted[i].mode);
      int status = 0;
      pid_t child = fork();
      if (child == 0) {
        become(users[u]);
        must(setresgid(users[u]->gid, users[u]->gid, users[u]->gid) == 0, "setresgid");
        execl("./script", "script", NULL);
        _exit(126);
      }
      must(waitpid(child, &status, 0) == child, "waitpid");
      IS(wanted[i].status[u], WEXITSTATUS(status));
    }
  }
}

static void past_2_gib(void) {
  char c = 0;
  static const off_t offsets[] = {(1LL << 31) - 1, (1LL << 31) + 1, (1LL << 32) - 1, (1LL << 32), (1LL << 40)};
  for (int i = 0; i < 5; i++) {
    scope("offset %lld", (long long)offsets[i]);
    int fd = open("f", O_CREAT | O_RDWR | O_TRUNC, 0644);
    IS(1, pwrite(fd, "a", 1, offsets[i]));
    IS(offsets[i] + 1, size_of("f"));
    IS(1, pread(fd, &c, 1, offsets[i]));
    IS('a', c);
    IS(1, pread(fd, &c, 1, offsets[i] - 1));
    IS(0, c);
    IS(0, pread(fd, &c, 1, offsets[i] + 1));
    close(fd);
  }
}

static void bad_flags(void) {
  make(REGULAR, "f");
  OK(opens("f", O_RDONLY | O_CLOEXEC | O_NOCTTY, 0));
  OK(opens("f", O_RDWR | O_SYNC, 0));
  OK(opens("f", O_RDWR | O_DSYNC, 0));
  int fd = openat(AT_FDCWD, "f", O_RDONLY);
  FAILS(ENOTDIR, openat(fd, "x", O_RDONLY));
  FAILS(EBADF, openat(-1, "f", O_RDONLY));
  char text[4];
  FAILS(EBADF, write(fd, "x", 1));
  FAILS(EINVAL, lseek(fd, -1, SEEK_SET));
  FAILS(EINVAL, pread(fd, text, 1, -1));
  close(fd);
}

const struct part parts_of_open[] = {{"open: combinations of flags", combinations, 0},
                                       {"open: times", times, 0},
                                       {"open: new files without permissions", without_permissions, NEEDS_ROOT},
                                       {"open: append", append, 0},
                                       {"open: directories", directories, 0},
                                       {"open: O_NOATIME", noatime, NEEDS_ROOT},
                                       {"open: O_TMPFILE", tmpfile_without_name, 0},
                                       {"open: a running program", busy_text, 0},
                                       {"open: execution", execution, NEEDS_ROOT},
                                       {"open: past 2 GiB", past_2_gib, 0},
                                       {"open: descriptors", bad_flags, 0},
                                       {NULL, NULL, 0}};
