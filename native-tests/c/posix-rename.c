/* rename and renameat2. */
#include "posix.h"
#include <linux/fs.h>
#include <sys/syscall.h>

static int rename2(const char *from, const char *to, unsigned flags) {
  return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void moves(void) {
  for EACH_KIND(k) {
    fresh();
    make(DIRECTORY, "d");
    make(k, "a");
    long long ino = ino_of("a"), mode = mode_of("a"), links = nlink_of("a");
    scope("%s", kind_name[k]);
    const char *names[] = {"a", "b", "d/a", "d/b", "a"};
    for (int i = 0; i + 1 < 5; i++) {
      OK(rename(names[i], names[i + 1]));
      IS(0, exists(names[i]));
      IS(k, kind_of(names[i + 1]));
      IS(ino, ino_of(names[i + 1]));
      IS(mode, mode_of(names[i + 1]));
      IS(links, nlink_of(names[i + 1]));
    }
    if (k == DIRECTORY) continue;
    OK(link("a", "hard"));
    OK(rename("hard", "d/hard"));
    IS(2, nlink_of("a"));
    IS(ino, ino_of("d/hard"));
    OK(rename("a", "d/a"));
    IS(2, nlink_of("d/hard"));
  }
}

static void times(void) {
  for EACH_KIND(k) {
    fresh();
    make(DIRECTORY, "from");
    make(DIRECTORY, "to");
    make(k, "from/f");
    scope("%s", kind_name[k]);
    watch("from/f", "c");
    watch("from", "mc");
    OK(rename("from/f", "from/g"));
    watched();
    watch("from/g", "cM");
    watch("from", "mc");
    watch("to", "mc");
    watch(".", "");
    OK(rename("from/g", "to/f"));
    watched();
    watch("to/f", "");
    watch("to", "");
    FAILS(ENOENT, rename("to/missing", "to/f"));
    FAILS(ENOENT, rename("to/f", "missing/f"));
    if (k != SYMLINK) FAILS(k == DIRECTORY ? EINVAL : ENOTDIR, rename("to/f", "to/f/g"));
    FAILS(EEXIST, rename2("to/f", "to/f", RENAME_NOREPLACE));
    OK(rename("to/f", "to/f"));
    watched();
  }
}

/* Two names of one file: nothing happens, and both stay. */
static void onto_itself(void) {
  for EACH_KIND(k) {
    fresh();
    make(k, "a");
    scope("%s", kind_name[k]);
    watch("a", "");
    watch(".", "");
    OK(rename("a", "a"));
    watched();
    if (k == DIRECTORY) continue;
    must(link("a", "b") == 0, "link");
    watch("a", "");
    watch(".", "");
    OK(rename("a", "b"));
    watched();
    IS(2, nlink_of("a"));
    IS(2, nlink_of("b"));
    FAILS(EEXIST, rename2("a", "b", RENAME_NOREPLACE));
    IS(2, nlink_of("b"));
  }
}

static void into_itself(void) {
  make(DIRECTORY, "a");
  make(DIRECTORY, "a/b");
  make(DIRECTORY, "a/b/c");
  make(REGULAR, "a/f");
  watch("a", "");
  FAILS(EINVAL, rename("a", "a/new"));
  FAILS(EINVAL, rename("a", "a/b/new"));
  FAILS(EINVAL, rename("a", "a/b/c"));
  FAILS_EITHER(ENOTEMPTY, EEXIST, rename("a/b", "a"));
  FAILS_EITHER(ENOTEMPTY, EEXIST, rename("a/b/c", "a"));
  FAILS_EITHER(EISDIR, ENOTEMPTY, rename("a/f", "a"));
  FAILS(EINVAL, rename2("a", "a/b", RENAME_EXCHANGE));
  FAILS(EINVAL, rename2("a/b/c", "a", RENAME_EXCHANGE));
  FAILS_EITHER(EINVAL, EBUSY, rename("a/.", "new"));
  FAILS_EITHER(EINVAL, EBUSY, rename("a/..", "new"));
  FAILS_EITHER(EINVAL, EBUSY, rename("a/b", "a/."));
  FAILS_EITHER(EINVAL, EBUSY, rename("a/b", "a/b/.."));
  FAILS_EITHER(EINVAL, EBUSY, rename(".", "new"));
  FAILS_EITHER(EINVAL, EBUSY, rename("..", "new"));
  watched();
  IS(0, exists("new"));
  IS(DIRECTORY, kind_of("a/b/c"));
  FAILS(ENOTDIR, rename("a/f", "new/"));
  FAILS(ENOTDIR, rename("a/f/", "new"));
  OK(rename("a/b/", "new/"));
  OK(rename("new", "a/b/"));
  FAILS(EXDEV, rename("a/f", "/proc/self/f"));
  FAILS(EXDEV, rename("/proc/self/status", "a/x"));
}

static void flags(void) {
  make(REGULAR, "a");
  make(DIRECTORY, "b");
  FAILS(EINVAL, rename2("a", "b", RENAME_NOREPLACE | RENAME_EXCHANGE));
  FAILS(EINVAL, rename2("a", "b", RENAME_WHITEOUT | RENAME_EXCHANGE));
  FAILS(EINVAL, rename2("a", "b", 0x80));
  FAILS(ENOENT, rename2("a", "missing", RENAME_EXCHANGE));
  FAILS(ENOENT, rename2("missing", "a", RENAME_EXCHANGE));
  FAILS(ENOENT, rename2("missing", "new", RENAME_NOREPLACE));
  IS(REGULAR, kind_of("a"));
  IS(DIRECTORY, kind_of("b"));
  FAILS(EBADF, renameat(-1, "a", AT_FDCWD, "c"));
  FAILS(EBADF, renameat(AT_FDCWD, "a", -1, "c"));
}

/* A directory's ".." and both parents' link counts follow it. */
static void parents(void) {
  struct stat up;
  make(DIRECTORY, "from");
  make(DIRECTORY, "to");
  make(DIRECTORY, "from/d");
  make(DIRECTORY, "from/d/e");
  IS(3, nlink_of("from"));
  IS(2, nlink_of("to"));
  OK(stat("from/d/..", &up));
  IS(ino_of("from"), up.st_ino);
  OK(rename("from/d", "to/d"));
  IS(2, nlink_of("from"));
  IS(3, nlink_of("to"));
  IS(3, nlink_of("to/d"));
  OK(stat("to/d/..", &up));
  IS(ino_of("to"), up.st_ino);
  OK(stat("to/d/e/../..", &up));
  IS(ino_of("to"), up.st_ino);
  make(DIRECTORY, "from/x");
  OK(rename("from/x", "to/d/e"));
  IS(2, nlink_of("from"));
  IS(3, nlink_of("to/d"));
  make(REGULAR, "from/f");
  OK(rename2("from/f", "to/d", RENAME_EXCHANGE));
  IS(3, nlink_of("from"));
  IS(2, nlink_of("to"));
  OK(stat("from/f/..", &up));
  IS(ino_of("from"), up.st_ino);
  IS(DIRECTORY, kind_of("from/f/e"));
}

static void without_rights(void) {
  for EACH_KIND(k) {
    fresh();
    make_as(DIRECTORY, "free", 0777, 0, 0);
    make_as(DIRECTORY, "closed", 0755, 0, 0);
    make_as(k, "free/f", 0777, OWNER_ID, OWNER_ID);
    make_as(k, "closed/f", 0777, OWNER_ID, OWNER_ID);
    make_as(k, "free/others", 0755, OTHER_ID, OTHER_ID);
    scope("%s", kind_name[k]);
    watch("free/f", "");
    watch("closed/f", "");
    watch("free", "");
    watch("closed", "");
    AS(OWNER, FAILS(EACCES, rename("free/f", "closed/g")));
    AS(OWNER, FAILS(EACCES, rename("closed/f", "free/g")));
    AS(OWNER, FAILS(EACCES, rename("closed/f", "closed/g")));
    AS(OWNER, FAILS(EACCES, rename("free/f", "closed/f")));
    AS(OWNER, FAILS(EACCES, rename("closed/f", "free/f")));
    watched();
    AS(OWNER, OK(rename("free/others", "free/g")));
    must(mkdir("free/deeper", 0777) == 0, "mkdir");
    AS(OWNER, FAILS(k == DIRECTORY ? EACCES : 0, rename("free/g", "free/deeper/g")));
  }
}

const struct part parts_of_rename[] = {{"rename: moves", moves, 0},
                                         {"rename: times", times, 0},
                                         {"rename: onto itself", onto_itself, 0},
                                         {"rename: into itself", into_itself, 0},
                                         {"rename: flags", flags, 0},
                                         {"rename: parents", parents, 0},
                                         {"rename: without rights", without_rights, NEEDS_ROOT},
                                         {NULL, NULL, 0}};
