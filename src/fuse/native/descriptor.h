#pragma once

#include <memory>

// A file descriptor with one owner or several (a channel and the notifications it has under way): closed when the
// last one lets go, so that no thread writes to a number that has become another file.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }

 private:
  const int fd_;
};

using SharedDescriptor = std::shared_ptr<Descriptor>;
