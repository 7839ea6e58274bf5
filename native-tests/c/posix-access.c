/* Who may: search and write permission of directories, read and write permission of files, by class of user. */
#include "posix-operations.h"

struct caller {
  const struct user *user;
  int shift; /* of the mode bits that count for this user */
};
static const struct caller callers[] = {{&OWNER, 6}, {&MATE, 3}, {&OTHER, 0}};
#define EACH_CALLER(c) (const struct caller *c = callers; c < callers + 3; c++)

/* All bits but those of the caller's class allow everything: only the right ones may count. */
static mode_t only(const struct caller *c, int bits) { return (0777 & ~(7 << c->shift)) | bits << c->shift; }

static void directory_of(int bits, const struct caller *c) {
  fresh();
  must(chmod(".", 0777) == 0, "chmod");
  make(REGULAR, SPARE);
  must(chown(SPARE, c->user->uid, c->user->gid) == 0, "chown");
  make(DIRECTORY, "d");
  must(chown("d", OWNER_ID, OWNER_ID) == 0 && chmod("d", only(c, bits)) == 0, "the directory");
}

static void put(const struct operation *o, const struct caller *c, const char *path) {
  if (o->target == MAKES) return;
  make(o->target == NEEDS_DIRECTORY ? DIRECTORY : o->target == NEEDS_LINK ? SYMLINK : REGULAR, path);
  must(lchown(path, c->user->uid, c->user->gid) == 0, "lchown");
}

static void of_directories(void) {
  for EACH_OPERATION(o) {
    if (o->needs_root) continue;
    for EACH_CALLER(c) {
      for (int bits = 0; bits < 8; bits++) {
        directory_of(bits, c);
        put(o, c, "d/name");
        scope("%s in a directory with %o for the caller", o->name, bits);
        int allowed = (bits & 1) && (!o->changes_directory || (bits & 2));
        int there = exists("d/name");
        watch("d", !o->changes_directory || !allowed ? "" : "mc");
        AS(*c->user, FAILS(allowed ? 0 : EACCES, o->run("d/name")));
        watched();
        if (!allowed) IS(there, exists("d/name"));
        if (!allowed) OK(o->run("d/name"));
      }
    }
  }
}

static void of_paths_through(void) {
  for EACH_OPERATION(o) {
    if (o->needs_root) continue;
    for EACH_CALLER(c) {
      for (int bits = 0; bits < 8; bits++) {
        directory_of(bits, c);
        must(mkdir("d/inner", 0777) == 0, "mkdir");
        put(o, c, "d/inner/name");
        scope("%s below a directory with %o for the caller", o->name, bits);
        AS(*c->user, FAILS(bits & 1 ? 0 : EACCES, o->run("d/inner/name")));
      }
    }
  }
}

static int access_bits(int flags) {
  int bits = (flags & O_ACCMODE) == O_RDONLY ? 4 : (flags & O_ACCMODE) == O_WRONLY ? 2 : 6;
  return flags & O_TRUNC ? bits | 2 : bits;
}

static void of_files(void) {
  static const int flags[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_WRONLY | O_TRUNC, O_RDWR | O_TRUNC,
                              O_RDONLY | O_CREAT, O_WRONLY | O_CREAT, O_RDWR | O_CREAT | O_TRUNC, O_WRONLY | O_APPEND};
  fresh();
  static const enum kind kinds[] = {REGULAR, FIFO, DIRECTORY};
  for (int k = 0; k < 3; k++) {
    make_as(kinds[k], "f", 0, OWNER_ID, OWNER_ID);
    for EACH_CALLER(c) {
      for (int bits = 0; bits < 8; bits++) {
        must(chmod("f", only(c, bits)) == 0, "chmod");
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
          if (kinds[k] == DIRECTORY && flags[i] != O_RDONLY) continue;
          scope("open %o of a %s with %o for the caller", flags[i], kind_name[kinds[k]], bits);
          int allowed = (bits & access_bits(flags[i])) == access_bits(flags[i]);
          int reader = kinds[k] == FIFO && (flags[i] & O_ACCMODE) == O_WRONLY ? ENXIO : 0;
          AS(*c->user, FAILS(allowed ? reader : EACCES, opens("f", flags[i], 0644)));
        }
        scope("access of a %s with %o for the caller", kind_name[kinds[k]], bits);
        AS(*c->user, FAILS(bits & 4 ? 0 : EACCES, faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS)));
        AS(*c->user, FAILS(bits & 2 ? 0 : EACCES, faccessat(AT_FDCWD, "f", W_OK, AT_EACCESS)));
        AS(*c->user, FAILS(bits & 1 ? 0 : EACCES, faccessat(AT_FDCWD, "f", X_OK, AT_EACCESS)));
        if (kinds[k] == REGULAR) AS(*c->user, FAILS(bits & 2 ? 0 : EACCES, truncate("f", 3)));
      }
    }
    erase("f");
  }
}

static void of_listing(void) {
  for EACH_CALLER(c) {
    for (int bits = 0; bits < 8; bits++) {
      directory_of(bits, c);
      scope("a directory with %o for the caller", bits);
      AS(*c->user, FAILS(bits & 4 ? 0 : EACCES, opens("d", O_RDONLY | O_DIRECTORY, 0)));
      AS(*c->user, FAILS(bits & 1 ? 0 : EACCES, chdir("d")); if (bits & 1) must(chdir("..") == 0, "chdir"));
    }
  }
}

/* Root may search and write whatever the modes say, and executes what somebody may execute. */
static void of_root(void) {
  for EACH_KIND(k) {
    if (k == SYMLINK || k == BLOCK || k == CHARACTER || k == SOCKET) continue;
    for (int bits = 0; bits < 8; bits++) {
      fresh();
      make_as(k, "f", bits | bits << 3 | bits << 6, OWNER_ID, OWNER_ID);
      scope("a %s of mode %03o", kind_name[k], bits | bits << 3 | bits << 6);
      OK(opens("f", O_RDONLY, 0));
      if (k != DIRECTORY) OK(opens("f", O_RDWR, 0));
      OK(faccessat(AT_FDCWD, "f", R_OK | W_OK, AT_EACCESS));
      FAILS(k == DIRECTORY || (bits & 1) ? 0 : EACCES, faccessat(AT_FDCWD, "f", X_OK, AT_EACCESS));
    }
  }
}

const struct part parts_of_access[] = {{"access: directories", of_directories, NEEDS_ROOT},
                                         {"access: paths through directories", of_paths_through, NEEDS_ROOT},
                                         {"access: files", of_files, NEEDS_ROOT},
                                         {"access: listing", of_listing, NEEDS_ROOT},
                                         {"access: root", of_root, NEEDS_ROOT},
                                         {NULL, NULL, 0}};
