/* link and symlink. */
#include "posix.h"

static void counts(void) {
  for EACH_KIND(k) {
    if (k == DIRECTORY) continue;
    fresh();
    scope("%s", kind_name[k]);
    make(k, "a");
    make(DIRECTORY, "d");
    long long ino = ino_of("a");
    OK(link("a", "b"));
    IS(2, nlink_of("a"));
    IS(2, nlink_of("b"));
    OK(link("b", "d/c"));
    const char *names[] = {"a", "b", "d/c"};
    if (k != SYMLINK && am_root) OK(chown("b", 65534, 65533));
    if (k != SYMLINK) OK(chmod("b", 0201));
    for (int i = 0; i < 3; i++) {
      IS(k, kind_of(names[i]));
      IS(3, nlink_of(names[i]));
      IS(ino, ino_of(names[i]));
      if (k != SYMLINK) IS(0201, mode_of(names[i]));
      if (k != SYMLINK && am_root) IS(65534, uid_of(names[i]));
    }
    for (int gone = 0; gone < 3; gone++) {
      OK(unlink(names[gone]));
      for (int i = 0; i < 3; i++) IS(i <= gone ? -1 : 2 - gone, nlink_of(names[i]));
    }
  }
}

static void times(void) {
  for EACH_KIND(k) {
    if (k == DIRECTORY) continue;
    fresh();
    make(k, "a");
    make(DIRECTORY, "d");
    scope("%s", kind_name[k]);
    watch("a", "c");
    watch("d", "mc");
    watch(".", "");
    OK(link("a", "d/b"));
    watched();
    watch("a", "");
    watch("d", "");
    FAILS(EEXIST, link("a", "d/b"));
    watched();
    watch("a", "c");
    watch("d", "mc");
    OK(unlink("d/b"));
    watched();
    watch("d", "");
    watch("a", "");
    FAILS(ENOENT, link("missing", "d/b"));
    FAILS(ENOENT, link("a", "missing/b"));
    watched();
    if (!am_root || k == SYMLINK) continue;
    must(chown("a", OWNER_ID, -1) == 0, "chown");
    watch("a", "");
    watch("d", "");
    AS(OWNER, FAILS(EACCES, link("a", "d/c")));
    watched();
  }
}

static void refused(void) {
  make(DIRECTORY, "d");
  FAILS(EPERM, link("d", "e"));
  IS(0, exists("e"));
  FAILS(EPERM, link(".", "e"));
  FAILS(EPERM, link("..", "e"));
  if (am_root) {
    make_as(DIRECTORY, "mine", 0777, OWNER_ID, OWNER_ID);
    AS(OWNER, FAILS(EPERM, link("mine", "mine/e")));
    AS(OTHER, FAILS(EPERM, link("mine", "mine/e")));
  }
  make(REGULAR, "f");
  for EACH_KIND(k) {
    make(k, "there");
    scope("onto a %s", kind_name[k]);
    FAILS(EEXIST, link("f", "there"));
    FAILS(EEXIST, link("f", "f"));
    FAILS(k == DIRECTORY ? EEXIST : ENOTDIR, link("f", k == DIRECTORY ? "there/." : "f/x"));
    IS(1, nlink_of("f"));
    erase("there");
  }
  FAILS(ENOENT, link("f", "new/"));
  FAILS(ENOTDIR, link("f/", "new"));
  FAILS(EXDEV, link("/proc/self/status", "new"));
  FAILS(EXDEV, link("f", "/dev/posix-suite"));
  FAILS(EINVAL, linkat(AT_FDCWD, "f", AT_FDCWD, "new", 0x1));
  FAILS(EBADF, linkat(-1, "f", AT_FDCWD, "new", 0));
  IS(0, exists("new"));
}

static void of_symbolic_links(void) {
  make(REGULAR, "f");
  must(symlink("f", "to-f") == 0, "symlink");
  OK(link("to-f", "hard"));
  IS(SYMLINK, kind_of("hard"));
  IS(2, nlink_of("to-f"));
  IS(1, nlink_of("f"));
  OK(linkat(AT_FDCWD, "to-f", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
  IS(REGULAR, kind_of("followed"));
  IS(ino_of("f"), ino_of("followed"));
  IS(2, nlink_of("f"));
  must(symlink("nowhere", "dangling") == 0, "symlink");
  FAILS(ENOENT, linkat(AT_FDCWD, "dangling", AT_FDCWD, "new", AT_SYMLINK_FOLLOW));
  FAILS(EEXIST, link("f", "dangling"));
}

/* A file without names can be given one again only when it never had one. */
static void after_the_last_name(void) {
  make(REGULAR, "f");
  int fd = open("f", O_RDWR);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  OK(linkat(AT_FDCWD, path, AT_FDCWD, "second", AT_SYMLINK_FOLLOW));
  IS(2, nlink_of("second"));
  OK(unlink("second"));
  OK(unlink("f"));
  FAILS(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, "again", AT_SYMLINK_FOLLOW));
  IS(0, exists("again"));
  close(fd);
}

static void many(void) {
  make(REGULAR, "f");
  char name[16];
  for (int i = 1; i < 1000; i++) {
    snprintf(name, sizeof name, "l%d", i);
    must(link("f", name) == 0, name);
  }
  IS(1000, nlink_of("f"));
  IS(1000, nlink_of("l500"));
  for (int i = 1; i < 1000; i++) {
    snprintf(name, sizeof name, "l%d", i);
    must(unlink(name) == 0, name);
  }
  IS(1, nlink_of("f"));
}

static void symlinks(void) {
  static const char *const targets[] = {"a", "/", "/etc/passwd", "../..", "a//b/./c/", "with space", "\xc3\xa4\xe2\x82\xac", ".", "a\nb"};
  char text[64];
  for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
    scope("to \"%s\"", targets[i]);
    watch(".", "mc");
    OK(symlink(targets[i], "l"));
    watched();
    IS(strlen(targets[i]), size_of("l"));
    IS(strlen(targets[i]), readlink("l", text, sizeof text));
    HOLDS(memcmp(text, targets[i], strlen(targets[i])) == 0);
    IS(1, readlink("l", text, 1));
    FAILS(EINVAL, readlink("l", text, 0));
    watch("l", "");
    FAILS(EEXIST, symlink("other", "l"));
    watched();
    OK(unlink("l"));
  }
  scope("read");
  for EACH_KIND(k) {
    if (k == SYMLINK) continue;
    make(k, "f");
    FAILS(EINVAL, readlink("f", text, sizeof text));
    erase("f");
  }
  make(DIRECTORY, "d");
  make(REGULAR, "d/inside");
  must(symlink("d", "to-d") == 0, "symlink");
  OK(unlink("to-d/inside"));
  IS(0, exists("d/inside"));
  FAILS(ENOTDIR, rmdir("to-d"));
  FAILS(ENOTDIR, rmdir("to-d/"));
  FAILS(ENOTDIR, unlink("to-d/"));
  OK(unlink("to-d"));
  IS(DIRECTORY, kind_of("d"));
}

const struct part parts_of_link[] = {{"link: counts", counts, 0},
                                       {"link: times", times, 0},
                                       {"link: refused", refused, 0},
                                       {"link: symbolic links", of_symbolic_links, 0},
                                       {"link: after the last name", after_the_last_name, 0},
                                       {"link: a thousand", many, 0},
                                       {"symlink: targets", symlinks, 0},
                                       {NULL, NULL, 0}};
