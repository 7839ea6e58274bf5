/* read and write: what they move, and which times they change. */
#include "posix.h"
#include <sys/mman.h>
#include <sys/uio.h>

static void times(void) {
  write_file("f", "text");
  int fd = open("f", O_RDWR);
  char text[16];
  watch("f", "mc");
  watch(".", "");
  IS(4, write(fd, "more", 4));
  OK(fsync(fd));
  watched();
  watch("f", "A");
  IS(4, pread(fd, text, 4, 0));
  OK(fsync(fd));
  watched();
  watch("f", "");
  IS(0, write(fd, "", 0));
  FAILS(EBADF, write(-1, "x", 1));
  watched();
  watch("f", "mc");
  IS(1, pwrite(fd, "x", 1, 9000));
  watched();
  IS(9001, size_of("f"));
  close(fd);
  watch("f", "");
  OK(opens("f", O_RDWR, 0));
  watched();
}

static void sparse(void) {
  char text[100];
  int fd = open("f", O_CREAT | O_RDWR, 0644);
  IS(1, pwrite(fd, "a", 1, 0));
  IS(1, pwrite(fd, "b", 1, 1 << 24));
  IS((1 << 24) + 1, size_of("f"));
  IS(100, pread(fd, text, 100, 1 << 20));
  int zero = 1;
  for (int i = 0; i < 100; i++) zero &= text[i] == 0;
  HOLDS(zero);
  struct stat st;
  OK(fstat(fd, &st));
  HOLDS(st.st_blocks * 512 < 1 << 24);
  IS(0, pread(fd, text, 100, 1 << 25));
  close(fd);
}

static void vectors(void) {
  char a[4] = "", b[4] = "";
  int fd = open("f", O_CREAT | O_RDWR, 0644);
  struct iovec out[2] = {{"abc", 3}, {"defg", 4}}, in[2] = {{a, 2}, {b, 3}};
  IS(7, writev(fd, out, 2));
  IS(7, size_of("f"));
  IS(0, lseek(fd, 0, SEEK_SET));
  IS(5, readv(fd, in, 2));
  HOLDS(memcmp(a, "ab", 2) == 0 && memcmp(b, "cde", 3) == 0);
  IS(5, lseek(fd, 0, SEEK_CUR));
  IS(7, lseek(fd, 0, SEEK_END));
  IS(17, lseek(fd, 10, SEEK_END));
  IS(0, read(fd, a, 4));
  IS(1, write(fd, "z", 1));
  IS(18, size_of("f"));
  close(fd);
}

static void mapped(void) {
  int fd = open("f", O_CREAT | O_RDWR, 0644);
  must(ftruncate(fd, 10000) == 0, "ftruncate");
  char *shared = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  HOLDS(shared != MAP_FAILED);
  char *private = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  HOLDS(private != MAP_FAILED);
  private[1] = 'p';
  shared[0] = 's';
  shared[9999] = 'e';
  OK(msync(shared, 10000, MS_SYNC));
  char text[2];
  IS(2, pread(fd, text, 2, 0));
  IS('s', text[0]);
  IS(0, text[1]);
  IS(1, pwrite(fd, "w", 1, 5000));
  IS('w', shared[5000]);
  munmap(shared, 10000);
  munmap(private, 10000);
  close(fd);
  fd = open("f", O_RDONLY);
  IS(1, pread(fd, text, 1, 9999));
  IS('e', text[0]);
  IS(0, pread(fd, text, 1, 10000));
  close(fd);
}

const struct part parts_of_data[] = {{"data: times", times, 0},
                                       {"data: sparse files", sparse, 0},
                                       {"data: vectors and positions", vectors, 0},
                                       {"data: mappings", mapped, 0},
                                       {NULL, NULL, 0}};
