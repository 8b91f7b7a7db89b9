#include "core/data/file.h"

#include <fcntl.h>
#include <glob.h>
#include <glog/logging.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>
#include <utility>

namespace tsugi {
namespace {

/// Closes on scope exit; for reading, where a failing close loses nothing.
struct FileDescriptor {
  int value = -1;
  ~FileDescriptor() {
    if (value >= 0) ::close(value);
  }
};

int open_for_reading(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw file_error("open", path);
  return descriptor;
}

void write_all(int descriptor, const std::string& path, int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor, bytes.data(), bytes.size(), offset);
    if (written < 0) {
      if (errno == EINTR) continue;
      throw file_error("write", path);
    }
    offset += written;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

}  // namespace

Error file_error(const std::string& action, const std::string& path) {
  const int number = errno;
  std::string hint;
  if (number == ENOSPC || number == EDQUOT) hint = "free space on the file system and run again";
  return Error(ExitCode::kInputOutput, "cannot " + action + " " + path + ": " + std::strerror(number), hint);
}

std::string read_file(const std::string& path, int64_t max_bytes) {
  CHECK_GE(max_bytes, 0);
  const FileDescriptor file{open_for_reading(path)};
  const auto limit = static_cast<size_t>(max_bytes);
  std::string text;
  struct stat status{};
  if (::fstat(file.value, &status) != 0) throw file_error("stat", path);
  size_t size = 0;
  for (;;) {
    // One byte more than the known size tells the end of the file without a second round.
    const size_t expected = status.st_size > 0 ? static_cast<size_t>(status.st_size) : 0;
    const size_t room = std::min(limit, std::max(expected, size + 65536)) + 1;
    text.resize(room);
    const ssize_t got = ::read(file.value, text.data() + size, room - size);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw file_error("read", path);
    }
    if (got == 0) break;
    size += static_cast<size_t>(got);
    if (size > limit) {
      throw Error(ExitCode::kData, path + ": larger than the limit of " + std::to_string(max_bytes) + " bytes");
    }
  }
  text.resize(size);
  return text;
}

void write_file_durably(const std::string& path, std::string_view text) {
  DurableFile file(path);
  file.write(std::as_bytes(std::span(text.data(), text.size())));
  file.commit();
}

bool is_pattern(const std::string& text) { return text.find_first_of("*?[") != std::string::npos; }

std::vector<std::string> match_paths(const std::string& pattern) {
  glob_t found{};
  const int result = ::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found);
  std::vector<std::string> paths;
  if (result == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  if (result != 0 && result != GLOB_NOMATCH) {
    throw Error(ExitCode::kInputOutput, pattern + ": cannot read the folders of this pattern");
  }
  if (paths.empty()) throw Error(ExitCode::kData, pattern + ": no file matches this pattern");
  std::ranges::sort(paths);
  return paths;
}

void sync_folder(const std::string& path) {
  const FileDescriptor folder{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.value < 0) throw file_error("open folder", path);
  if (::fsync(folder.value) != 0) throw file_error("fsync folder", path);
}

namespace {

/// A finished file is renamed over its name: /dev/null would be a file from then on.
void refuse_special(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode)) return;
  throw Error(ExitCode::kInputOutput, "cannot write " + path + ": it is there, and not a regular file");
}

}  // namespace

DurableFile::DurableFile(std::string path) : path_(std::move(path)) {
  refuse_special(path_);
  std::random_device random;
  for (int attempt = 0; descriptor_ < 0; ++attempt) {
    temporary_ = path_ + ".tmp" + std::to_string(random());
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && (errno != EEXIST || attempt == 100)) throw file_error("create", temporary_);
  }
}

DurableFile::DurableFile(std::string path, int64_t size) : path_(std::move(path)), size_(size), keep_(true) {
  refuse_special(path_);
  temporary_ = path_ + ".partial";
  descriptor_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw file_error("open", temporary_);
  struct stat status{};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (known && status.st_size >= size && ::ftruncate(descriptor_, size) == 0) return;
  const Error error = known && status.st_size < size
                          ? Error(ExitCode::kData, temporary_ + ": has " + std::to_string(status.st_size) + " bytes, " +
                                                       std::to_string(size) + " were written")
                          : file_error("cut", temporary_);
  ::close(descriptor_);
  throw error;
}

DurableFile::~DurableFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (!keep_) ::unlink(temporary_.c_str());
}

void DurableFile::write(std::span<const std::byte> bytes) {
  CHECK_GE(descriptor_, 0) << "written after commit: " << path_;
  write_all(descriptor_, temporary_, size_, bytes);
  size_ += static_cast<int64_t>(bytes.size());
}

void DurableFile::overwrite(int64_t offset, std::span<const std::byte> bytes) {
  CHECK_GE(descriptor_, 0) << "written after commit: " << path_;
  CHECK(offset >= 0 && offset + static_cast<int64_t>(bytes.size()) <= size_) << path_ << " offset " << offset;
  write_all(descriptor_, temporary_, offset, bytes);
}

void DurableFile::sync() {
  CHECK_GE(descriptor_, 0) << "synchronised after commit: " << path_;
  if (::fsync(descriptor_) != 0) throw file_error("fsync", temporary_);
}

void DurableFile::read_back(int64_t offset, std::span<std::byte> out) const {
  CHECK(offset >= 0 && offset + static_cast<int64_t>(out.size()) <= size_) << path_ << " offset " << offset;
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor_, out.data(), out.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw file_error("read", temporary_);
    offset += got;
    out = out.subspan(static_cast<size_t>(got));
  }
}

void DurableFile::commit() {
  CHECK_GE(descriptor_, 0) << "committed twice: " << path_;
  if (::fsync(descriptor_) != 0) throw file_error("fsync", temporary_);
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    const Error error = file_error("close", temporary_);
    ::unlink(temporary_.c_str());
    throw error;
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const Error error = file_error("rename to", path_);
    ::unlink(temporary_.c_str());
    throw error;
  }
  sync_folder(folder_of(path_));
}

MappedFile::MappedFile(const std::string& path) {
  const FileDescriptor file{open_for_reading(path)};
  struct stat status{};
  if (::fstat(file.value, &status) != 0) throw file_error("stat", path);
  if (!S_ISREG(status.st_mode)) throw Error(ExitCode::kInputOutput, "cannot map " + path + ": not a regular file");
  if (status.st_size == 0) return;
  const auto size = static_cast<size_t>(status.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.value, 0);
  if (data == MAP_FAILED) throw file_error("map", path);
  bytes_ = {static_cast<const std::byte*>(data), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace tsugi
