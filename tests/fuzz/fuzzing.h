// Helpers of the fuzz targets.
#pragma once

#include <fcntl.h>
#include <glog/logging.h>
#include <unistd.h>

#include <span>
#include <string>

namespace tsugi::fuzzing {

/// A file in memory that keeps its name while the program runs; put() replaces its content.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& name) : path_("/dev/shm/tsugi_fuzz_" + std::to_string(::getpid()) + name) {}
  ~MemoryFile() { ::unlink(path_.c_str()); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  const std::string& path() const { return path_; }
  void put(std::span<const uint8_t> bytes) const {
    const int descriptor = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    PCHECK(descriptor >= 0) << path_;
    PCHECK(::write(descriptor, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size())) << path_;
    ::close(descriptor);
  }
  void remove() const { ::unlink(path_.c_str()); }

 private:
  std::string path_;
};

}  // namespace tsugi::fuzzing
