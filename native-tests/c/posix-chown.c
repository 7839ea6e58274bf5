/* chown, lchown, fchown and fchownat, and what they do to setuid and setgid. */
#include "posix.h"

#define NOBODY ((uid_t)-1)

static int in_groups(const struct user *user, gid_t gid) {
  for (int i = 0; i < user->group_count; i++)
    if (user->groups[i] == gid) return 1;
  return user->gid == gid;
}

/* Whether this user may give the owner and group to a thing of owner `uid`, group `gid`. */
static int may(const struct user *user, uid_t uid, gid_t gid, uid_t new_uid, gid_t new_gid) {
  if (user->uid == 0) return 1;
  if (new_uid != NOBODY && (user->uid != uid || new_uid != uid)) return 0;
  return new_gid == NOBODY || (user->uid == uid && (new_gid == gid || in_groups(user, new_gid)));
}

static void who(void) {
  static const struct user *const users[] = {&ROOT, &OWNER, &MATE, &OTHER};
  static const uid_t uids[] = {NOBODY, OWNER_ID, OTHER_ID, 0};
  static const gid_t gids[] = {NOBODY, OWNER_ID, SHARED_GID, OTHER_ID, 0};
  for EACH_KIND(k) {
    fresh();
    make(k, "f");
    for (int w = 0; w < 4; w++) {
      for (int u = 0; u < 4; u++) {
        for (int g = 0; g < 5; g++) {
          must(lchown("f", OWNER_ID, OWNER_ID) == 0, "lchown");
          int allowed = may(users[w], OWNER_ID, OWNER_ID, uids[u], gids[g]);
          scope("%s to %d:%d", kind_name[k], (int)uids[u], (int)gids[g]);
          AS(*users[w], FAILS(allowed ? 0 : EPERM, lchown("f", uids[u], gids[g])));
          IS(allowed && uids[u] != NOBODY ? uids[u] : OWNER_ID, uid_of("f"));
          IS(allowed && gids[g] != NOBODY ? gids[g] : OWNER_ID, gid_of("f"));
        }
      }
    }
  }
}

static void through_links(void) {
  for EACH_KIND(k) {
    if (k == SYMLINK) continue;
    fresh();
    make(k, "f");
    must(symlink("f", "link") == 0, "symlink");
    scope("%s", kind_name[k]);
    OK(chown("link", 123, 456));
    IS(123, uid_of("f"));
    IS(456, gid_of("f"));
    IS(0, uid_of("link"));
    IS(0, gid_of("link"));
    OK(lchown("link", 789, 1011));
    IS(789, uid_of("link"));
    IS(1011, gid_of("link"));
    IS(123, uid_of("f"));
    OK(fchownat(AT_FDCWD, "link", 12, 13, AT_SYMLINK_NOFOLLOW));
    IS(12, uid_of("link"));
    OK(fchownat(AT_FDCWD, "link", 14, -1, 0));
    IS(14, uid_of("f"));
    IS(456, gid_of("f"));
    OK(chown("f", 0xfffffffe, 0x80000000));
    IS(0xfffffffe, uid_of("f"));
    IS(0x80000000, gid_of("f"));
    must(chown("f", 65534, 65533) == 0, "chown");
    AS(OWNER, FAILS(EPERM, chown("link", 65533, -1)); FAILS(EPERM, chown("link", -1, 65532)));
    AS(OWNER, OK(chown("link", -1, 65534)));
    IS(65534, gid_of("f"));
  }
}

/* Directories keep the bits; of the rest setuid goes, and setgid where it means execution. */
static void set_ids(void) {
  static const mode_t modes[] = {06777, 06555, 04755, 02755, 07711, 06766, 04644, 0777, 06010};
  static const struct { const struct user *user; uid_t uid; gid_t gid; } calls[] = {
      {&ROOT, OTHER_ID, OTHER_ID}, {&ROOT, -1, SHARED_GID}, {&ROOT, OWNER_ID, OWNER_ID},  {&ROOT, 0, 0},
      {&OWNER, -1, SHARED_GID},    {&OWNER, OWNER_ID, -1},  {&OWNER, OWNER_ID, OWNER_ID}, {&OWNER, OWNER_ID, SHARED_GID}};
  for EACH_KIND(k) {
    if (k == SYMLINK) continue;
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
      for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        fresh();
        make_as(k, "f", modes[m], OWNER_ID, OWNER_ID);
        scope("%s of mode %04o to %d:%d", kind_name[k], modes[m], (int)calls[i].uid, (int)calls[i].gid);
        mode_t kept = k == DIRECTORY ? modes[m] : modes[m] & ~04000;
        if (k != DIRECTORY && (kept & 010)) kept &= ~02000;
        AS(*calls[i].user, OK(lchown("f", calls[i].uid, calls[i].gid)));
        IS(kept, mode_of("f"));
      }
    }
  }
}

static void times(void) {
  for EACH_KIND(k) {
    fresh();
    make_as(k, "f", 0644, OWNER_ID, OWNER_ID);
    scope("%s", kind_name[k]);
    watch("f", "c");
    watch(".", "");
    OK(lchown("f", OWNER_ID, OTHER_ID));
    watched();
    watch("f", "c");
    AS(OWNER, OK(lchown("f", OWNER_ID, SHARED_GID)));
    watched();
    watch("f", "");
    AS(OTHER, FAILS(EPERM, lchown("f", OTHER_ID, -1)); FAILS(EPERM, lchown("f", -1, OTHER_ID)));
    AS(OTHER, FAILS(EPERM, lchown("f", OTHER_ID, OTHER_ID)); FAILS(EPERM, lchown("f", OWNER_ID, -1)));
    AS(OWNER, FAILS(EPERM, lchown("f", -1, OTHER_ID)); FAILS(EPERM, lchown("f", 0, -1)));
    watched();
    watch("f", "C");
    OK(lchown("f", -1, -1));
    AS(OTHER, OK(lchown("f", -1, -1)));
    watched();
    IS(OWNER_ID, uid_of("f"));
    IS(SHARED_GID, gid_of("f"));
  }
}

static void of_descriptors(void) {
  make_as(REGULAR, "f", 04711, OWNER_ID, OWNER_ID);
  int fd = open("f", O_RDONLY);
  OK(fchown(fd, 5, 6));
  IS(5, uid_of("f"));
  IS(6, gid_of("f"));
  IS(0711, mode_of("f"));
  AS(OWNER, FAILS(EPERM, fchown(fd, OWNER_ID, -1)));
  OK(unlink("f"));
  OK(fchown(fd, 7, 8));
  struct stat st;
  OK(fstat(fd, &st));
  IS(7, st.st_uid);
  IS(8, st.st_gid);
  OK(fchmod(fd, 0600));
  OK(fstat(fd, &st));
  IS(0600, st.st_mode & 07777);
  close(fd);
  FAILS(EBADF, fchown(-1, 0, 0));
  FAILS(EBADF, fchownat(-1, "f", 0, 0, 0));
  make(DIRECTORY, "d");
  fd = open("d", O_RDONLY);
  OK(fchownat(fd, "", 9, 10, AT_EMPTY_PATH));
  IS(9, uid_of("d"));
  close(fd);
}

const struct part parts_of_chown[] = {{"chown: who may", who, NEEDS_ROOT},
                                        {"chown: through links", through_links, NEEDS_ROOT},
                                        {"chown: setuid and setgid", set_ids, NEEDS_ROOT},
                                        {"chown: times", times, NEEDS_ROOT},
                                        {"chown: descriptors", of_descriptors, NEEDS_ROOT},
                                        {NULL, NULL, 0}};
