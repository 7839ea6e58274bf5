#include "file-calls.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

namespace {

std::string Text(const Napi::Value& value) { return value.As<Napi::String>().Utf8Value(); }

// Asks for the size and then for the bytes, again when they have grown meanwhile. False: errno tells.
template <typename Call>
bool ReadAll(std::vector<char>* bytes, Call call) {
  for (;;) {
    const ssize_t size = call(nullptr, 0);
    if (size < 0) return false;
    bytes->resize(static_cast<size_t>(size));
    if (size == 0) return true;
    const ssize_t got = call(bytes->data(), bytes->size());
    if (got >= 0) {
      bytes->resize(static_cast<size_t>(got));
      return true;
    }
    if (errno != ERANGE) return false;
  }
}

Napi::Value Outcome(Napi::Env env, int result) { return Napi::Number::New(env, result == 0 ? 0 : -errno); }

struct timespec TimeOf(const Napi::CallbackInfo& info, size_t first) {
  struct timespec time = {};
  time.tv_sec = static_cast<time_t>(info[first].As<Napi::Number>().Int64Value());
  time.tv_nsec = static_cast<long>(info[first + 1].As<Napi::Number>().Int64Value());
  return time;
}

}  // namespace

Napi::Value ListXattrs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = Text(info[0]);
  std::vector<char> names;
  const auto list = [&](char* into, size_t size) { return llistxattr(path.c_str(), into, size); };
  if (!ReadAll(&names, list)) return Napi::Number::New(env, -errno);
  Napi::Array found = Napi::Array::New(env);
  uint32_t count = 0;
  for (size_t at = 0; at < names.size();) {
    const size_t length = strnlen(names.data() + at, names.size() - at);
    found.Set(count++, Napi::String::New(env, names.data() + at, length));
    at += length + 1;
  }
  return found;
}

Napi::Value GetXattr(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = Text(info[0]);
  const std::string name = Text(info[1]);
  std::vector<char> value;
  const auto get = [&](char* into, size_t size) { return lgetxattr(path.c_str(), name.c_str(), into, size); };
  if (!ReadAll(&value, get)) return Napi::Number::New(env, -errno);
  return Napi::Buffer<char>::Copy(env, value.data(), value.size());
}

Napi::Value SetXattr(const Napi::CallbackInfo& info) {
  const std::string path = Text(info[0]);
  const std::string name = Text(info[1]);
  const auto value = info[2].As<Napi::Buffer<char>>();
  return Outcome(info.Env(), lsetxattr(path.c_str(), name.c_str(), value.Data(), value.Length(), 0));
}

Napi::Value SetTimes(const Napi::CallbackInfo& info) {
  const std::string path = Text(info[0]);
  const struct timespec times[2] = {TimeOf(info, 1), TimeOf(info, 3)};
  return Outcome(info.Env(), utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW));
}

Napi::Value MakeNode(const Napi::CallbackInfo& info) {
  const std::string path = Text(info[0]);
  const mode_t mode = info[1].As<Napi::Number>().Uint32Value();
  const dev_t device = static_cast<dev_t>(info[2].As<Napi::Number>().Int64Value());
  return Outcome(info.Env(), mknod(path.c_str(), mode, device));
}
