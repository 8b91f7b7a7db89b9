// Fuzz targets and their helpers. A target takes any bytes and dies (CHECK, sanitizers, an exception that nobody
// expects) when they do something that a file must not be able to do.
#pragma once

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/base/error.h"

namespace tsugi::fuzzing {

using Input = std::span<const uint8_t>;

struct Target {
  const char* name;
  void (*run)(Input input);
};

/// All targets of the program.
inline std::vector<Target>& targets() {
  static std::vector<Target> list;
  return list;
}

inline const Target& find_target(std::string_view name) {
  for (const Target& target : targets()) {
    if (target.name == name) return target;
  }
  std::string known;
  for (const Target& target : targets()) known += std::string(" ") + target.name;
  LOG(FATAL) << "no target \"" << name << "\"; there are" << known;
}

inline bool add_target(const char* name, void (*run)(Input input)) {
  targets().push_back({name, run});
  return true;
}

/// Begins the function of a target: TSUGI_FUZZ_TARGET(json) { … input … }
#define TSUGI_FUZZ_TARGET(name)                                                                          \
  static void fuzz_##name(tsugi::fuzzing::Input input);                                                  \
  [[maybe_unused]] static const bool registered_##name = tsugi::fuzzing::add_target(#name, fuzz_##name); \
  static void fuzz_##name(tsugi::fuzzing::Input input)

inline std::string_view as_text(Input input) { return {reinterpret_cast<const char*>(input.data()), input.size()}; }

/// Takes what stands before the next 0 byte off the input, and that byte.
inline std::string take_text(Input& input) {
  const auto end = std::find(input.begin(), input.end(), 0);
  std::string text(input.begin(), end);
  input = input.subspan(std::min(input.size(), text.size() + 1));
  return text;
}

/// Takes `size` bytes, or all there are.
inline Input take(Input& input, size_t size) {
  const Input taken = input.first(std::min(size, input.size()));
  input = input.subspan(taken.size());
  return taken;
}

/// Takes a length of two bytes and as many bytes as it says.
inline Input take_sized(Input& input) {
  const Input length = take(input, 2);
  return length.size() < 2 ? Input() : take(input, static_cast<size_t>(length[0] | length[1] << 8));
}

/// Runs `read`: it may refuse the input with an Error of one of these codes, and with nothing else.
template <class Read>
void refuse_or(Read&& read, std::initializer_list<ExitCode> codes = {ExitCode::kData}) {
  try {
    read();
  } catch (const Error& error) {
    CHECK(std::find(codes.begin(), codes.end(), error.code()) != codes.end()) << error.what();
    CHECK(*error.what() != '\0');
  }
}

/// Replaces the content of a file.
inline void put_file(const std::string& path, Input bytes) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  PCHECK(descriptor >= 0) << path;
  PCHECK(::write(descriptor, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size())) << path;
  ::close(descriptor);
}

/// A file in memory that keeps its name while the program runs.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& name) : path_("/dev/shm/tsugi_fuzz_" + std::to_string(::getpid()) + name) {}
  ~MemoryFile() { remove(); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  const std::string& path() const { return path_; }
  void put(Input bytes) const { put_file(path_, bytes); }
  void remove() const { ::unlink(path_.c_str()); }

 private:
  std::string path_;
};

/// A folder in memory, likewise.
class MemoryFolder {
 public:
  explicit MemoryFolder(const std::string& name) : path_("/dev/shm/tsugi_fuzz_" + std::to_string(::getpid()) + name) {
    PCHECK(::mkdir(path_.c_str(), 0700) == 0) << path_;
  }
  ~MemoryFolder() { std::filesystem::remove_all(path_); }
  MemoryFolder(const MemoryFolder&) = delete;
  MemoryFolder& operator=(const MemoryFolder&) = delete;

  const std::string& path() const { return path_; }
  void put(const std::string& name, Input bytes) const { put_file(path_ + "/" + name, bytes); }

 private:
  std::string path_;
};

}  // namespace tsugi::fuzzing
