/* utimensat, futimens and their relatives. */
#include "posix.h"
#include <sys/time.h>
#include <time.h>
#include <utime.h>

static struct timespec at(long long seconds, long nanoseconds) { return (struct timespec){seconds, nanoseconds}; }

static int set(const char *path, struct timespec atime, struct timespec mtime, int flags) {
  struct timespec both[2] = {atime, mtime};
  return utimensat(AT_FDCWD, path, both, flags);
}

static void exact(void) {
  static const struct timespec wanted[] = {{0, 0}, {1, 1}, {1000000000, 999999999}, {1900000000, 100000000}, {2147483647, 5},
                                           {2147483648, 6}, {4294967295, 7}, {4294967296, 8}, {15032385534, 999999999}, {-1, 0},
                                           {-1, 999999999}, {-2147483647, 123456789}};
  int count = sizeof wanted / sizeof *wanted;
  for EACH_KIND(k) {
    fresh();
    make(k, "f");
    for (int i = 0; i < count; i++) {
      struct timespec a = wanted[i], m = wanted[(i + 1) % count];
      struct stat st;
      scope("%s to %lld.%09ld", kind_name[k], (long long)a.tv_sec, a.tv_nsec);
      OK(set("f", a, m, AT_SYMLINK_NOFOLLOW));
      must(lstat("f", &st) == 0, "lstat");
      IS(a.tv_sec, st.st_atim.tv_sec);
      IS(a.tv_nsec, st.st_atim.tv_nsec);
      IS(m.tv_sec, st.st_mtim.tv_sec);
      IS(m.tv_nsec, st.st_mtim.tv_nsec);
    }
  }
}

static void now_and_omit(void) {
  for EACH_KIND(k) {
    fresh();
    make(k, "f");
    int flags = AT_SYMLINK_NOFOLLOW;
    scope("%s", kind_name[k]);
    OK(set("f", at(100, 1), at(200, 2), flags));
    watch("f", "ac");
    watch(".", "");
    OK(set("f", at(300, 3), at(0, UTIME_OMIT), flags));
    watched();
    watch("f", "mc");
    OK(set("f", at(0, UTIME_OMIT), at(400, 4), flags));
    watched();
    watch("f", "");
    OK(set("f", at(0, UTIME_OMIT), at(0, UTIME_OMIT), flags));
    watched();
    watch("f", "ac");
    OK(set("f", at(0, UTIME_NOW), at(0, UTIME_OMIT), flags));
    watched();
    watch("f", "mc");
    OK(set("f", at(0, UTIME_OMIT), at(77, UTIME_NOW), flags));
    watched();
    OK(set("f", at(1, 0), at(1, 0), flags));
    struct timespec before;
    struct stat st;
    clock_gettime(CLOCK_REALTIME_COARSE, &before);
    OK(set("f", at(0, UTIME_NOW), at(0, UTIME_NOW), flags));
    must(lstat("f", &st) == 0, "lstat");
    HOLDS(st.st_atim.tv_sec >= before.tv_sec && st.st_mtim.tv_sec >= before.tv_sec);
    HOLDS(st.st_atim.tv_sec == st.st_mtim.tv_sec && st.st_atim.tv_nsec == st.st_mtim.tv_nsec);
    OK(set("f", at(1, 0), at(1, 0), flags));
    OK(utimensat(AT_FDCWD, "f", NULL, flags));
    must(lstat("f", &st) == 0, "lstat");
    HOLDS(st.st_atim.tv_sec >= before.tv_sec && st.st_mtim.tv_sec >= before.tv_sec);
  }
}

static void mixed(void) {
  make(REGULAR, "f");
  struct stat st;
  OK(set("f", at(50, 5), at(0, UTIME_NOW), 0));
  OK(stat("f", &st));
  IS(50, st.st_atim.tv_sec);
  HOLDS(st.st_mtim.tv_sec > 1000000000);
  OK(set("f", at(0, UTIME_NOW), at(60, 6), 0));
  OK(stat("f", &st));
  HOLDS(st.st_atim.tv_sec > 1000000000);
  IS(60, st.st_mtim.tv_sec);
  IS(6, st.st_mtim.tv_nsec);
}

static void through_links(void) {
  struct stat st;
  make(REGULAR, "f");
  must(symlink("f", "link") == 0, "symlink");
  OK(set("f", at(10, 0), at(20, 0), 0));
  watch("link", "A");
  OK(set("link", at(30, 0), at(40, 0), 0));
  watched();
  OK(stat("f", &st));
  IS(30, st.st_atim.tv_sec);
  IS(40, st.st_mtim.tv_sec);
  watch("f", "");
  OK(set("link", at(50, 0), at(60, 0), AT_SYMLINK_NOFOLLOW));
  watched();
  OK(lstat("link", &st));
  IS(50, st.st_atim.tv_sec);
  IS(60, st.st_mtim.tv_sec);
  must(symlink("nowhere", "dangling") == 0, "symlink");
  FAILS(ENOENT, set("dangling", at(1, 0), at(1, 0), 0));
  OK(set("dangling", at(1, 0), at(1, 0), AT_SYMLINK_NOFOLLOW));
}

static void refused(void) {
  make(REGULAR, "f");
  watch("f", "");
  FAILS(EINVAL, set("f", at(1, 1000000000), at(1, 0), 0));
  FAILS(EINVAL, set("f", at(1, 0), at(1, -1), 0));
  FAILS(EINVAL, set("f", at(1, 0), at(1, 0), 0x4000000));
  FAILS(EBADF, utimensat(-1, "f", NULL, 0));
  FAILS(EBADF, futimens(-1, NULL));
  watched();
}

static void by_descriptor(void) {
  struct stat st;
  make(REGULAR, "f");
  make(DIRECTORY, "d");
  make(REGULAR, "d/g");
  struct timespec both[2] = {{11, 12}, {13, 14}};
  int fd = open("f", O_RDONLY), dir = open("d", O_RDONLY);
  OK(futimens(fd, both));
  OK(stat("f", &st));
  IS(11, st.st_atim.tv_sec);
  IS(14, st.st_mtim.tv_nsec);
  OK(futimens(dir, both));
  OK(stat("d", &st));
  IS(13, st.st_mtim.tv_sec);
  OK(utimensat(dir, "g", both, 0));
  OK(stat("d/g", &st));
  IS(11, st.st_atim.tv_sec);
  struct utimbuf old = {21, 22};
  OK(utime("f", &old));
  OK(stat("f", &st));
  IS(21, st.st_atim.tv_sec);
  IS(22, st.st_mtim.tv_sec);
  struct timeval micro[2] = {{31, 32}, {33, 34}};
  OK(utimes("f", micro));
  OK(stat("f", &st));
  IS(32000, st.st_atim.tv_nsec);
  IS(34000, st.st_mtim.tv_nsec);
  OK(lutimes("f", micro));
  OK(unlink("f"));
  OK(futimens(fd, both));
  OK(fstat(fd, &st));
  IS(13, st.st_mtim.tv_sec);
  close(fd);
  close(dir);
}

/* The current time may be set by all who may write; any other is the owner's to set. */
static void who(void) {
  static const struct { const struct user *user; int owner; int shift; } users[] = {{&OWNER, 1, 6}, {&MATE, 0, 3}, {&OTHER, 0, 0}, {&ROOT, 1, 0}};
  static const mode_t modes[] = {0444, 0644, 0664, 0666, 0222, 0};
  for EACH_KIND(k) {
    if (k == SYMLINK) continue;
    for (int m = 0; m < 6; m++) {
      for (int u = 0; u < 4; u++) {
        fresh();
        make_as(k, "f", modes[m], OWNER_ID, OWNER_ID);
        scope("%s of mode %03o", kind_name[k], modes[m]);
        int writes = (modes[m] >> users[u].shift & 2) != 0;
        int now = users[u].owner || writes ? 0 : EACCES, other = users[u].owner ? 0 : EPERM;
        AS(*users[u].user, FAILS(now, utimensat(AT_FDCWD, "f", NULL, 0)));
        AS(*users[u].user, FAILS(now, set("f", at(0, UTIME_NOW), at(0, UTIME_NOW), 0)));
        AS(*users[u].user, OK(set("f", at(0, UTIME_OMIT), at(0, UTIME_OMIT), 0)));
        watch("f", other ? "" : "amc");
        AS(*users[u].user, FAILS(other, set("f", at(1, 0), at(2, 0), 0)));
        watched();
        AS(*users[u].user, FAILS(other, set("f", at(0, UTIME_NOW), at(2, 0), 0)));
        AS(*users[u].user, FAILS(other, set("f", at(1, 0), at(0, UTIME_NOW), 0)));
        AS(*users[u].user, FAILS(other, set("f", at(1, 0), at(0, UTIME_OMIT), 0)));
        AS(*users[u].user, FAILS(other, set("f", at(0, UTIME_OMIT), at(1, 0), 0)));
        AS(*users[u].user, FAILS(other, set("f", at(0, UTIME_NOW), at(0, UTIME_OMIT), 0)));
        AS(*users[u].user, FAILS(other, set("f", at(0, UTIME_OMIT), at(0, UTIME_NOW), 0)));
      }
    }
  }
  fresh();
  make_as(SYMLINK, "f", 0777, OWNER_ID, OWNER_ID);
  scope("symlink");
  AS(OTHER, FAILS(EPERM, set("f", at(1, 0), at(2, 0), AT_SYMLINK_NOFOLLOW)));
  AS(OWNER, OK(set("f", at(1, 0), at(2, 0), AT_SYMLINK_NOFOLLOW)));
}

const struct part parts_of_times[] = {{"utimensat: exact", exact, 0},
                                        {"utimensat: now and omit", now_and_omit, 0},
                                        {"utimensat: mixed", mixed, 0},
                                        {"utimensat: through links", through_links, 0},
                                        {"utimensat: refused", refused, 0},
                                        {"utimensat: descriptors", by_descriptor, 0},
                                        {"utimensat: who may", who, NEEDS_ROOT},
                                        {NULL, NULL, 0}};
