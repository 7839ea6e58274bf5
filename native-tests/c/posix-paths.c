/* How paths are resolved, for every operation: what is not a directory, missing, too long, a loop, nowhere in memory. */
#include "posix-operations.h"

static const char *const existing[KINDS] = {"regular", "directory", "fifo", "block", "char", "socket", "dangling"};

static int run(const struct operation *o, const char *path) {
  if (!exists(SPARE)) make(REGULAR, SPARE);
  if (exists("spare-link")) erase("spare-link");
  if (exists("spare-name")) erase("spare-name");
  return o->run(path);
}

/* Gives the operation something to work on, when it needs it. */
static void prepare(const struct operation *o, const char *path) {
  if (o->target == NEEDS_FILE) make(REGULAR, path);
  if (o->target == NEEDS_DIRECTORY) make(DIRECTORY, path);
  if (o->target == NEEDS_LINK) make(SYMLINK, path);
}

static void not_directory(void) {
  char path[64];
  for EACH_KIND(k) if (k != DIRECTORY) make(k, existing[k]);
  must(symlink("regular", "to-regular") == 0, "symlink");
  for EACH_OPERATION(o) {
    for EACH_KIND(k) {
      if (k == DIRECTORY) continue;
      scope("%s below a %s", o->name, kind_name[k]);
      snprintf(path, sizeof path, "%s/name", existing[k]);
      FAILS(k == SYMLINK ? ENOENT : ENOTDIR, run(o, path));
      snprintf(path, sizeof path, "%s/name/further", existing[k]);
      FAILS(k == SYMLINK ? ENOENT : ENOTDIR, run(o, path));
    }
    scope("%s below a symbolic link to a file", o->name);
    FAILS(ENOTDIR, run(o, "to-regular/name"));
    scope("%s", o->name);
    FAILS(ENOTDIR, run(o, "regular/.."));
    if (o->target == NEEDS_FILE || o->target == NEEDS_DIRECTORY) FAILS(ENOTDIR, run(o, "regular/"));
  }
}

static void missing(void) {
  for EACH_OPERATION(o) {
    scope("%s", o->name);
    FAILS(ENOENT, run(o, "missing/name"));
    FAILS(ENOENT, run(o, "missing/../name"));
    FAILS(ENOENT, run(o, ""));
    if (o->target != MAKES) FAILS(ENOENT, run(o, "missing"));
    if (o->target != MAKES) FAILS(ENOENT, run(o, "missing/"));
  }
}

static void dangling(void) {
  make(SYMLINK, "dangling");
  for EACH_OPERATION(o) {
    scope("%s of a link to nothing", o->name);
    if (o->target == MAKES) FAILS(strcmp(o->name, "rename to") == 0 ? 0 : EEXIST, run(o, "dangling"));
    else if (o->follows) FAILS(ENOENT, run(o, "dangling"));
    else if (o->target == NEEDS_DIRECTORY) FAILS(ENOTDIR, run(o, "dangling"));
    else OK(run(o, "dangling"));
    fresh();
    make(SYMLINK, "dangling");
  }
}

static void there_already(void) {
  for EACH_OPERATION(o) {
    if (o->target != MAKES || strcmp(o->name, "rename to") == 0) continue;
    for EACH_KIND(k) {
      scope("%s where a %s is", o->name, kind_name[k]);
      fresh();
      make(k, "there");
      long long ino = ino_of("there");
      FAILS(EEXIST, run(o, "there"));
      IS(k, kind_of("there"));
      IS(ino, ino_of("there"));
    }
    scope("%s", o->name);
    FAILS(EEXIST, run(o, "."));
    FAILS(EEXIST, run(o, ".."));
    fresh();
  }
}

/* A directory so deep that the path of a file in it has `length` bytes; gives the path. */
static char *deep(int length) {
  static char path[5000];
  int at = 0;
  int here = open(".", O_PATH);
  while (length - at > 200) {
    memset(path + at, 'd', 99);
    path[at + 99] = 0;
    must(mkdir(path + at, 0755) == 0 || errno == EEXIST, "mkdir");
    must(chdir(path + at) == 0, "chdir");
    path[at + 99] = '/';
    at += 100;
  }
  must(fchdir(here) == 0, "fchdir");
  close(here);
  memset(path + at, 'f', length - at);
  path[length] = 0;
  return path;
}

static void names_too_long(void) {
  char path[300];
  for EACH_OPERATION(o) {
    fresh();
    char *longest = repeat('x', 255);
    scope("%s of a name of 255 bytes", o->name);
    prepare(o, longest);
    OK(run(o, longest));
    scope("%s of a name of 256 bytes", o->name);
    FAILS(ENAMETOOLONG, run(o, repeat('x', 256)));
    scope("%s below a name of 256 bytes", o->name);
    snprintf(path, sizeof path, "%s/name", repeat('x', 256));
    FAILS(ENAMETOOLONG, run(o, path));
    fresh();
    scope("%s of a name of 85 characters, 255 bytes", o->name);
    char wide[300] = "";
    for (int i = 0; i < 85; i++) strcat(wide, "\xe2\x82\xac");
    prepare(o, wide);
    OK(run(o, wide));
    strcat(wide, "x");
    FAILS(ENAMETOOLONG, run(o, wide));
  }
}

static void paths_too_long(void) {
  fresh();
  deep(4095);
  for EACH_OPERATION(o) {
    scope("%s of a path of 4095 bytes", o->name);
    char *path = deep(4095);
    prepare(o, path);
    OK(run(o, path));
    if (exists(path)) erase(path);
    scope("%s of a path of 4096 bytes", o->name);
    path = deep(4095);
    path[4095] = 'f';
    path[4096] = 0;
    FAILS(ENAMETOOLONG, run(o, path));
    scope("%s of a path of 4096 bytes that leads back", o->name);
    char *dots = repeat('.', 4096);
    for (int i = 1; i < 4096; i += 2) dots[i] = '/';
    FAILS(ENAMETOOLONG, run(o, dots));
  }
  fresh();
  scope("a symbolic link's target");
  OK(symlink(repeat('t', 4095), "long"));
  IS(4095, size_of("long"));
  static char text[5000];
  IS(4095, readlink("long", text, sizeof text));
  FAILS(ENAMETOOLONG, symlink(repeat('t', 4096), "longer"));
  FAILS(ENOENT, symlink("", "empty"));
  IS(0, exists("longer") + exists("empty"));
}

static void loops(void) {
  for EACH_OPERATION(o) {
    fresh();
    must(symlink("self", "self") == 0 && symlink("two", "one") == 0 && symlink("one", "two") == 0, "symlink");
    scope("%s", o->name);
    FAILS(ELOOP, run(o, "self/name"));
    FAILS(ELOOP, run(o, "one/name"));
    FAILS(ELOOP, run(o, "two/../name"));
    if (o->target == MAKES) continue;
    if (o->follows) FAILS(ELOOP, run(o, "self"));
    if (o->follows) FAILS(ELOOP, run(o, "one"));
  }
  fresh();
  must(mkdir("l0", 0755) == 0, "mkdir");
  for (int i = 1; i <= 41; i++) {
    char from[16], to[16];
    snprintf(from, sizeof from, "l%d", i - 1);
    snprintf(to, sizeof to, "l%d", i);
    must(symlink(from, to) == 0, "symlink");
  }
  for EACH_OPERATION(o) {
    scope("%s through 40 links", o->name);
    prepare(o, "l0/name");
    OK(run(o, "l40/name"));
    if (exists("l0/name")) erase("l0/name");
    scope("%s through 41 links", o->name);
    FAILS(ELOOP, run(o, "l41/name"));
  }
}

static void bad_addresses(void) {
  const char *volatile nowhere = NULL;
  const char *volatile never = (const char *)0x10;
  for EACH_OPERATION(o) {
    if (strcmp(o->name, "utimensat") == 0 || strcmp(o->name, "utimensat NOFOLLOW") == 0) continue;
    scope("%s", o->name);
    FAILS(EFAULT, run(o, nowhere));
    FAILS(EFAULT, run(o, never));
  }
}

/* Paths with superfluous parts mean the same. */
static void spellings(void) {
  static const char *const spelled[] = {"./d/name", "d//name", "d/./name", "d/../d/name", "to-d/name", "to-d/../d/name"};
  for EACH_OPERATION(o) {
    for (size_t i = 0; i < sizeof spelled / sizeof *spelled; i++) {
      fresh();
      make(DIRECTORY, "d");
      must(symlink("d", "to-d") == 0, "symlink");
      prepare(o, "d/name");
      scope("%s of %s", o->name, spelled[i]);
      OK(run(o, spelled[i]));
    }
  }
}

const struct part parts_of_paths[] = {
    {"paths: not a directory", not_directory, 0}, {"paths: missing", missing, 0},
    {"paths: dangling links", dangling, 0},       {"paths: existing names", there_already, 0},
    {"paths: long names", names_too_long, 0},     {"paths: long paths", paths_too_long, 0},
    {"paths: loops", loops, 0},                   {"paths: bad addresses", bad_addresses, 0},
    {"paths: spellings", spellings, 0},           {NULL, NULL, 0}};
