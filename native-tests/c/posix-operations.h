/* Every call that takes a path, as a table: what holds for all of them is checked for each. */
#ifndef POSIX_OPERATIONS_H
#define POSIX_OPERATIONS_H
#include "posix.h"

enum target {
  NEEDS_FILE, /* works on a thing that is there, whatever it is */
  NEEDS_DIRECTORY,
  NEEDS_LINK, /* readlink */
  MAKES       /* makes a new name */
};

struct operation {
  const char *name;
  int (*run)(const char *path);
  enum target target;
  int follows;          /* a symbolic link at the end of the path */
  int changes_directory; /* needs write permission in the directory */
  int needs_root;
};

extern const struct operation operations[];
#define EACH_OPERATION(o) \
  (const struct operation *o = operations; o->name != NULL; o++) if (am_root || !o->needs_root)
/* What an operation that makes or moves uses as the other path: a regular file in the working directory. */
#define SPARE "spare"
#endif
