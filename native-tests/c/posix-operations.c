#include "posix-operations.h"
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

static int run_stat(const char *p) { struct stat st; return stat(p, &st); }
static int run_lstat(const char *p) { struct stat st; return lstat(p, &st); }
static int run_fstatat(const char *p) { struct stat st; return fstatat(AT_FDCWD, p, &st, AT_SYMLINK_NOFOLLOW); }
static int run_statx(const char *p) { struct statx st; return statx(AT_FDCWD, p, 0, STATX_BASIC_STATS, &st); }
static int run_access(const char *p) { return faccessat(AT_FDCWD, p, F_OK, AT_EACCESS); }
static int run_open(const char *p) { return opens(p, O_RDONLY, 0); }
static int run_open_path(const char *p) { return opens(p, O_PATH | O_NOFOLLOW, 0); }
static int run_open_create(const char *p) { return opens(p, O_CREAT | O_EXCL | O_WRONLY, 0644); }
static int run_open_create_ro(const char *p) { return opens(p, O_CREAT | O_EXCL | O_RDONLY, 0600); }
static int run_truncate(const char *p) { return truncate(p, 10); }
static int run_chmod(const char *p) { return chmod(p, 0777); }
static int run_chown(const char *p) { return chown(p, geteuid(), -1); }
static int run_lchown(const char *p) { return lchown(p, geteuid(), -1); }
static int run_utimensat(const char *p) { return utimensat(AT_FDCWD, p, NULL, 0); }
static int run_utimensat_link(const char *p) { return utimensat(AT_FDCWD, p, NULL, AT_SYMLINK_NOFOLLOW); }
static int run_mkdir(const char *p) { return mkdir(p, 0755); }
static int run_mkfifo(const char *p) { return mkfifo(p, 0644); }
static int run_mknod_file(const char *p) { return mknod(p, S_IFREG | 0644, 0); }
static int run_mknod_socket(const char *p) { return mknod(p, S_IFSOCK | 0644, 0); }
static int run_mknod_block(const char *p) { return mknod(p, S_IFBLK | 0644, makedev(1, 2)); }
static int run_mknod_char(const char *p) { return mknod(p, S_IFCHR | 0644, makedev(1, 2)); }
static int run_symlink(const char *p) { return symlink("anything", p); }
static int run_link_to(const char *p) { return link(SPARE, p); }
static int run_link_from(const char *p) { return link(p, "spare-link"); }
static int run_rename_to(const char *p) { return rename(SPARE, p); }
static int run_rename_from(const char *p) { return rename(p, "spare-name"); }
static int run_unlink(const char *p) { return unlink(p); }
static int run_rmdir(const char *p) { return rmdir(p); }
static int run_readlink(const char *p) { char text[64]; return (int)readlink(p, text, sizeof text); }
static int run_statfs(const char *p) { struct statfs st; return statfs(p, &st); }
static int run_listxattr(const char *p) { char names[1024]; return (int)llistxattr(p, names, sizeof names); }
static int run_chdir(const char *p) {
  int here = open(".", O_PATH);
  int result = chdir(p);
  int error = errno;
  must(fchdir(here) == 0, "back");
  close(here);
  errno = error;
  return result;
}

const struct operation operations[] = {
    {"stat", run_stat, NEEDS_FILE, 1, 0, 0},
    {"lstat", run_lstat, NEEDS_FILE, 0, 0, 0},
    {"fstatat", run_fstatat, NEEDS_FILE, 0, 0, 0},
    {"statx", run_statx, NEEDS_FILE, 1, 0, 0},
    {"access", run_access, NEEDS_FILE, 1, 0, 0},
    {"open", run_open, NEEDS_FILE, 1, 0, 0},
    {"open O_PATH", run_open_path, NEEDS_FILE, 0, 0, 0},
    {"open O_CREAT", run_open_create, MAKES, 0, 1, 0},
    {"open O_CREAT|O_RDONLY", run_open_create_ro, MAKES, 0, 1, 0},
    {"truncate", run_truncate, NEEDS_FILE, 1, 0, 0},
    {"chmod", run_chmod, NEEDS_FILE, 1, 0, 0},
    {"chown", run_chown, NEEDS_FILE, 1, 0, 0},
    {"lchown", run_lchown, NEEDS_FILE, 0, 0, 0},
    {"utimensat", run_utimensat, NEEDS_FILE, 1, 0, 0},
    {"utimensat NOFOLLOW", run_utimensat_link, NEEDS_FILE, 0, 0, 0},
    {"mkdir", run_mkdir, MAKES, 0, 1, 0},
    {"mkfifo", run_mkfifo, MAKES, 0, 1, 0},
    {"mknod regular", run_mknod_file, MAKES, 0, 1, 0},
    {"mknod socket", run_mknod_socket, MAKES, 0, 1, 0},
    {"mknod block", run_mknod_block, MAKES, 0, 1, 1},
    {"mknod char", run_mknod_char, MAKES, 0, 1, 1},
    {"symlink", run_symlink, MAKES, 0, 1, 0},
    {"link to", run_link_to, MAKES, 0, 1, 0},
    {"link from", run_link_from, NEEDS_FILE, 0, 0, 0},
    {"rename to", run_rename_to, MAKES, 0, 1, 0},
    {"rename from", run_rename_from, NEEDS_FILE, 0, 1, 0},
    {"unlink", run_unlink, NEEDS_FILE, 0, 1, 0},
    {"rmdir", run_rmdir, NEEDS_DIRECTORY, 0, 1, 0},
    {"readlink", run_readlink, NEEDS_LINK, 0, 0, 0},
    {"statfs", run_statfs, NEEDS_FILE, 1, 0, 0},
    {"llistxattr", run_listxattr, NEEDS_FILE, 0, 0, 0},
    {"chdir", run_chdir, NEEDS_DIRECTORY, 1, 0, 0},
    {NULL, NULL, 0, 0, 0, 0}};
