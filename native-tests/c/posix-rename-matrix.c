/* Every kind renamed over every kind, plainly, without replacing, and exchanged. */
#include "posix.h"
#include <linux/fs.h>
#include <sys/syscall.h>

static int rename2(const char *from, const char *to, unsigned flags) {
  return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static int refusal(int source, int target) {
  if (source == DIRECTORY && target != DIRECTORY) return ENOTDIR;
  if (source != DIRECTORY && target == DIRECTORY) return EISDIR;
  return 0;
}

/* `apart`: in another directory than the source. */
static void over(int source, int target, int apart) {
  fresh();
  make(DIRECTORY, "d");
  make(DIRECTORY, "e");
  make(source, "d/from");
  const char *to = apart ? "e/to" : "d/to";
  make(target, to);
  int linked = target != DIRECTORY;
  if (linked) must(link(to, "kept") == 0, "link");
  long long ino = ino_of("d/from"), old = ino_of(to);
  int error = refusal(source, target);
  scope("%s over %s%s", kind_name[source], kind_name[target], apart ? " elsewhere" : "");
  watch("d/from", error ? "" : source == DIRECTORY ? "cM" : "c");
  watch(to, error || target == DIRECTORY ? (error ? "" : "CM") : "c");
  watch("d", error ? "" : "mc");
  if (apart) watch("e", error ? "" : "mc");
  FAILS(error, rename("d/from", to));
  watched();
  IS(error ? old : ino, ino_of(to));
  IS(error ? ino : -1, ino_of("d/from"));
  if (linked) IS(error ? 2 : 1, nlink_of("kept"));
  int directories_in_d = !error ? !apart && source == DIRECTORY : (source == DIRECTORY) + (!apart && target == DIRECTORY);
  IS(2 + directories_in_d, nlink_of("d"));
  int directories_in_e = !apart ? 0 : error ? target == DIRECTORY : source == DIRECTORY;
  IS(2 + directories_in_e, nlink_of("e"));
}

static void plain(void) {
  for EACH_KIND(source) for EACH_KIND(target) for (int apart = 0; apart < 2; apart++) over(source, target, apart);
}

static void no_replace(void) {
  for EACH_KIND(source) {
    for EACH_KIND(target) {
      fresh();
      make(source, "from");
      make(target, "to");
      long long ino = ino_of("from"), old = ino_of("to");
      scope("%s over %s", kind_name[source], kind_name[target]);
      watch("from", "");
      watch("to", "");
      watch(".", "");
      FAILS(EEXIST, rename2("from", "to", RENAME_NOREPLACE));
      watched();
      IS(ino, ino_of("from"));
      IS(old, ino_of("to"));
      OK(rename2("from", "free", RENAME_NOREPLACE));
      IS(ino, ino_of("free"));
    }
  }
}

static void exchanged(void) {
  for EACH_KIND(source) {
    for EACH_KIND(target) {
      fresh();
      make(DIRECTORY, "d");
      make(DIRECTORY, "e");
      make(source, "d/a");
      make(target, "e/b");
      long long first = ino_of("d/a"), second = ino_of("e/b");
      scope("%s and %s", kind_name[source], kind_name[target]);
      watch("d/a", source == DIRECTORY ? "cM" : "c");
      watch("e/b", target == DIRECTORY ? "cM" : "c");
      watch("d", "mc");
      watch("e", "mc");
      OK(rename2("d/a", "e/b", RENAME_EXCHANGE));
      watched();
      IS(second, ino_of("d/a"));
      IS(first, ino_of("e/b"));
      IS(target, kind_of("d/a"));
      IS(source, kind_of("e/b"));
      IS(2 + (target == DIRECTORY), nlink_of("d"));
      IS(2 + (source == DIRECTORY), nlink_of("e"));
      OK(rename2("d/a", "d/a", RENAME_EXCHANGE));
    }
  }
}

static void full_directories(void) {
  for EACH_KIND(k) {
    fresh();
    make(DIRECTORY, "from");
    make(DIRECTORY, "to");
    make(k, "to/f");
    scope("a directory over one with a %s", kind_name[k]);
    watch("from", "");
    watch("to", "");
    watch(".", "");
    FAILS_EITHER(ENOTEMPTY, EEXIST, rename("from", "to"));
    watched();
    IS(k, kind_of("to/f"));
    erase("to/f");
    make(k, "from/f");
    OK(rename("from", "to"));
    IS(k, kind_of("to/f"));
  }
}

const struct part parts_of_rename_matrix[] = {{"rename: kind over kind", plain, 0},
                                                {"rename: without replacing", no_replace, 0},
                                                {"rename: exchanged", exchanged, 0},
                                                {"rename: full directories", full_directories, 0},
                                                {NULL, NULL, 0}};
