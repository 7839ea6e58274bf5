/* chmod, fchmod and fchmodat. */
#include "posix.h"

static void modes(void) {
  for EACH_KIND(k) {
    if (k == SYMLINK) continue;
    fresh();
    make(k, "f");
    must(symlink("f", "link") == 0, "symlink");
    long long link_mode = mode_of("link");
    for (int i = 0; i < 12; i++) {
      for (int inverse = 0; inverse < 2; inverse++) {
        mode_t mode = inverse ? 07777 & ~(1 << i) : 1 << i;
        scope("%s, mode %04o", kind_name[k], mode);
        OK(chmod("f", mode));
        IS(mode, mode_of("f"));
        IS(k, kind_of("f"));
        OK(fchmodat(AT_FDCWD, "link", 07777 & ~mode, 0));
        IS(07777 & ~mode, mode_of("f"));
        IS(link_mode, mode_of("link"));
      }
    }
  }
}

static void all_modes(void) {
  for (int k = REGULAR; k <= DIRECTORY; k++) {
    fresh();
    make(k, "f");
    int wrong = 0;
    for (mode_t mode = 0; mode <= 07777; mode++) {
      if (chmod("f", mode) != 0 || mode_of("f") != mode) wrong++;
    }
    scope("%s, each of 4096 modes", kind_name[k]);
    IS(0, wrong);
  }
}

static void umask_does_not_count(void) {
  for EACH_KIND(k) {
    if (k == SYMLINK) continue;
    scope("%s", kind_name[k]);
    fresh();
    make(k, "f");
    umask(077);
    OK(chmod("f", 0777));
    IS(0777, mode_of("f"));
  }
}

static void times(void) {
  for EACH_KIND(k) {
    if (k == SYMLINK) continue;
    scope("%s", kind_name[k]);
    fresh();
    make(k, "f");
    watch("f", "c");
    watch(".", "");
    OK(chmod("f", 0711));
    watched();
    watch("f", "c");
    OK(chmod("f", 0711));
    watched();
    if (k == SOCKET || k == BLOCK || k == CHARACTER) continue;
    int fd = open("f", O_RDONLY | O_NONBLOCK);
    watch("f", "c");
    OK(fchmod(fd, 0641));
    watched();
    IS(0641, mode_of("f"));
    close(fd);
  }
}

static void of_links(void) {
  make(SYMLINK, "link");
  FAILS(ENOENT, chmod("link", 0644));
  FAILS(EOPNOTSUPP, fchmodat(AT_FDCWD, "link", 0644, AT_SYMLINK_NOFOLLOW));
  IS(0777, mode_of("link"));
  FAILS(EINVAL, fchmodat(AT_FDCWD, "link", 0644, 0x4000000));
  FAILS(EBADF, fchmod(-1, 0644));
  FAILS(EBADF, fchmodat(-1, "link", 0644, 0));
}

static void who(void) {
  static const struct user *const strangers[] = {&MATE, &OTHER};
  for EACH_KIND(k) {
    if (k == SYMLINK) continue;
    fresh();
    make_as(k, "f", 0664, OWNER_ID, OWNER_ID);
    must(symlink("f", "link") == 0 && lchown("link", OTHER_ID, OTHER_ID) == 0, "link");
    scope("%s", kind_name[k]);
    for (int i = 0; i < 2; i++) {
      watch("f", "");
      AS(*strangers[i], FAILS(EPERM, chmod("f", 0777)); FAILS(EPERM, chmod("link", 0777)); FAILS(EPERM, chmod("f", 0664)));
      watched();
      IS(0664, mode_of("f"));
    }
    AS(OWNER, OK(chmod("f", 0421)));
    IS(0421, mode_of("f"));
    AS(OWNER, OK(chmod("link", 0124)));
    IS(0124, mode_of("f"));
    AS(OWNER, OK(chmod("f", 04711)));
    IS(04711, mode_of("f"));
    AS(OWNER, OK(chmod("f", 01700)));
    IS(01700, mode_of("f"));
    OK(chmod("f", 0));
    IS(0, mode_of("f"));
  }
}

/* Only who is in the file's group, or root, may give setgid; others get the rest of the mode. */
static void giving_setgid(void) {
  static const gid_t groups[] = {OWNER_ID, SHARED_GID, OTHER_ID, 0};
  static const mode_t wanted[] = {02755, 02745, 06755, 02000, 03777};
  for EACH_KIND(k) {
    if (k == SYMLINK) continue;
    for (int g = 0; g < 4; g++) {
      for (int m = 0; m < 5; m++) {
        fresh();
        make_as(k, "f", 0600, OWNER_ID, groups[g]);
        scope("%s of group %d, mode %04o", kind_name[k], (int)groups[g], wanted[m]);
        AS(OWNER, OK(chmod("f", wanted[m])));
        IS(g < 2 ? wanted[m] : wanted[m] & ~02000, mode_of("f"));
        AS(ROOT, OK(chmod("f", wanted[m])));
        IS(wanted[m], mode_of("f"));
      }
    }
  }
}

const struct part parts_of_chmod[] = {{"chmod: modes", modes, 0},
                                        {"chmod: all modes", all_modes, 0},
                                        {"chmod: umask", umask_does_not_count, 0},
                                        {"chmod: times", times, 0},
                                        {"chmod: symbolic links", of_links, 0},
                                        {"chmod: who may", who, NEEDS_ROOT},
                                        {"chmod: setgid", giving_setgid, NEEDS_ROOT},
                                        {NULL, NULL, 0}};
