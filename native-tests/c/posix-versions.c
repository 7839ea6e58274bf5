/*
 * What never changes: `version: prepare` makes one thing of each kind; after a commit, `version: read-only` runs in the
 * version and expects EROFS of every change.
 */
#include "posix-operations.h"
#include <linux/fs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

static void prepare(void) {
  for EACH_KIND(k) make(k, kind_name[k]);
  write_file("regular", "text");
  write_file(SPARE, "text");
  make(DIRECTORY, "empty");
  make(REGULAR, "dir/inside");
  must(link("regular", "hard") == 0, "link");
  must(symlink("regular", "to-regular") == 0 && symlink("dir", "to-dir") == 0, "symlink");
  OK(chmod("regular", 0666));
  OK(chmod(".", 0777));
}

static void changes_of_names(void) {
  for EACH_OPERATION(o) {
    if (!o->changes_directory) continue;
    scope("%s", o->name);
    watch(".", "A");
    watch("dir", "A");
    if (o->target == MAKES) {
      FAILS(EROFS, o->run("new"));
      FAILS(EROFS, o->run("dir/new"));
      FAILS(EROFS, o->run("to-dir/new"));
      if (strcmp(o->name, "rename to") != 0) FAILS(EEXIST, o->run("regular"));
    } else if (o->target == NEEDS_DIRECTORY) {
      FAILS(EROFS, o->run("empty"));
      FAILS(ENOENT, o->run("missing"));
    } else {
      for EACH_KIND(k) if (k != DIRECTORY) FAILS(EROFS, o->run(kind_name[k]));
      FAILS(EROFS, o->run("hard"));
      FAILS(EROFS, o->run("dir/inside"));
      FAILS(ENOENT, o->run("missing"));
    }
    watched();
    IS(0, exists("new") + exists("dir/new"));
  }
  scope("renameat2");
  FAILS(EROFS, syscall(SYS_renameat2, AT_FDCWD, "regular", AT_FDCWD, "new", RENAME_NOREPLACE));
  FAILS(EROFS, syscall(SYS_renameat2, AT_FDCWD, "regular", AT_FDCWD, "fifo", RENAME_EXCHANGE));
  FAILS(EEXIST, syscall(SYS_renameat2, AT_FDCWD, "regular", AT_FDCWD, "fifo", RENAME_NOREPLACE));
  FAILS(EROFS, rename("dir", "empty"));
  FAILS(EROFS, link("regular", "new"));
}

static void changes_of_things(void) {
  for EACH_KIND(k) {
    const char *path = kind_name[k];
    scope("%s", path);
    watch(path, "A");
    struct timespec times[2] = {{1, 2}, {3, 4}};
    if (k != SYMLINK) FAILS(EROFS, chmod(path, 0700));
    FAILS(EROFS, lchown(path, getuid(), -1));
    FAILS(EROFS, utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW));
    FAILS(EROFS, utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW));
    if (k == REGULAR || k == DIRECTORY) FAILS(EROFS, setxattr(path, "user.a", "b", 1, 0));
    if (k == REGULAR || k == DIRECTORY) FAILS(EROFS, removexattr(path, "user.a"));
    watched();
    IS(k, kind_of(path));
  }
  scope("content");
  watch("regular", "A");
  FAILS(EROFS, truncate("regular", 0));
  FAILS(EROFS, truncate("regular", 4));
  FAILS(EROFS, truncate("to-regular", 100));
  FAILS(EROFS, opens("regular", O_WRONLY, 0));
  FAILS(EROFS, opens("regular", O_RDWR, 0));
  FAILS(EROFS, opens("regular", O_WRONLY | O_APPEND, 0));
  FAILS(EROFS, opens("regular", O_RDONLY | O_TRUNC, 0));
  FAILS(EROFS, opens("regular", O_WRONLY | O_CREAT | O_TRUNC, 0644));
  FAILS(EROFS, opens("new", O_WRONLY | O_CREAT, 0644));
  FAILS(EROFS, opens("new", O_RDONLY | O_CREAT, 0644));
  FAILS(EROFS, opens("dir/new", O_RDWR | O_CREAT | O_EXCL, 0644));
  FAILS(EROFS, opens("dir", O_RDWR | O_TMPFILE, 0644));
  OK(opens("regular", O_RDONLY, 0));
  OK(opens("regular", O_RDONLY | O_CREAT, 0644));
  FAILS(EISDIR, opens("dir", O_WRONLY, 0));
  watched();
  int fd = open("regular", O_RDONLY);
  FAILS(EROFS, fchmod(fd, 0600));
  FAILS(EROFS, futimens(fd, NULL));
  char text[8];
  IS(4, read(fd, text, 8));
  IS(4, size_of("regular"));
  IS(2, nlink_of("regular"));
  close(fd);
}

static void read_only(void) {
  changes_of_names();
  changes_of_things();
}

const struct part parts_of_versions[] = {{"version: prepare", prepare, ONLY_IF_NAMED}, {"version: read-only", read_only, ONLY_IF_NAMED}, {NULL, NULL, 0}};
