/* Sticky directories: removing and replacing is for the owner of the thing, the owner of the directory, and root. */
#include "posix.h"

static const uid_t owners[] = {OWNER_ID, OTHER_ID, 0};

/* A thing of `thing_owner` in a sticky directory of `directory_owner`, and a place of OWNER's beside it. */
static void place(int sticky, enum kind kind, uid_t directory_owner, uid_t thing_owner) {
  fresh();
  make_as(DIRECTORY, "d", sticky ? 01777 : 0777, directory_owner, directory_owner);
  make_as(DIRECTORY, "mine", 0755, OWNER_ID, OWNER_ID);
  make_as(kind, "d/f", 0644, thing_owner, thing_owner);
}

static void removing(void) {
  for EACH_KIND(k) {
    for (int d = 0; d < 3; d++) {
      for (int t = 0; t < 3; t++) {
        for (int sticky = 0; sticky < 2; sticky++) {
          place(sticky, k, owners[d], owners[t]);
          int allowed = !sticky || owners[d] == OWNER_ID || owners[t] == OWNER_ID;
          scope("%s of %d in a%s directory of %d", kind_name[k], owners[t], sticky ? " sticky" : "", owners[d]);
          watch("d", allowed ? "mc" : "");
          AS(OWNER, FAILS(allowed ? 0 : EPERM, k == DIRECTORY ? rmdir("d/f") : unlink("d/f")));
          watched();
          IS(!allowed, exists("d/f"));
          if (!allowed) OK(k == DIRECTORY ? rmdir("d/f") : unlink("d/f"));
        }
      }
    }
  }
}

static void moving_away(void) {
  for EACH_KIND(k) {
    for (int d = 0; d < 3; d++) {
      for (int t = 0; t < 3; t++) {
        place(1, k, owners[d], owners[t]);
        int allowed = owners[d] == OWNER_ID || owners[t] == OWNER_ID;
        long long ino = ino_of("d/f");
        scope("%s of %d in a sticky directory of %d", kind_name[k], owners[t], owners[d]);
        AS(OWNER, FAILS(allowed ? 0 : EPERM, rename("d/f", "d/g")));
        IS(ino, ino_of(allowed ? "d/g" : "d/f"));
        if (allowed) must(rename("d/g", "d/f") == 0, "back");
        /* A directory that moves gets another "..": that is writing to it. */
        int error = !allowed ? EPERM : k == DIRECTORY && owners[t] != OWNER_ID ? EACCES : 0;
        AS(OWNER, FAILS_EITHER(error, error ? EACCES : 0, rename("d/f", "mine/g")));
        IS(ino, ino_of(error ? "d/f" : "mine/g"));
        IS(owners[t], uid_of(error ? "d/f" : "mine/g"));
      }
    }
  }
}

static void replacing(void) {
  for EACH_KIND(source) {
    for EACH_KIND(k) {
      if ((source == DIRECTORY) != (k == DIRECTORY)) continue;
      for (int d = 0; d < 3; d++) {
        for (int t = 0; t < 3; t++) {
          place(1, k, owners[d], owners[t]);
          make_as(source, "mine/g", 0644, OWNER_ID, OWNER_ID);
          int allowed = owners[d] == OWNER_ID || owners[t] == OWNER_ID;
          long long ino = ino_of("mine/g"), old = ino_of("d/f");
          scope("%s over a %s of %d in a sticky directory of %d", kind_name[source], kind_name[k], owners[t], owners[d]);
          AS(OWNER, FAILS(allowed ? 0 : EPERM, rename("mine/g", "d/f")));
          IS(allowed ? ino : old, ino_of("d/f"));
          IS(!allowed, exists("mine/g"));
        }
      }
    }
  }
}

/* Sticky matters for what is there; new names are for everybody who may write. */
static void making(void) {
  for EACH_KIND(k) {
    place(1, REGULAR, 0, 0);
    make_as(k, "mine/g", 0644, OWNER_ID, OWNER_ID);
    scope("%s", kind_name[k]);
    AS(OWNER, OK(rename("mine/g", "d/g")));
    IS(k, kind_of("d/g"));
    if (k == DIRECTORY) continue;
    if (k != SYMLINK) AS(OWNER, OK(link("d/g", "d/h")));
  }
}

const struct part parts_of_sticky[] = {{"sticky: removing", removing, NEEDS_ROOT},
                                         {"sticky: moving away", moving_away, NEEDS_ROOT},
                                         {"sticky: replacing", replacing, NEEDS_ROOT},
                                         {"sticky: making", making, NEEDS_ROOT},
                                         {NULL, NULL, 0}};
