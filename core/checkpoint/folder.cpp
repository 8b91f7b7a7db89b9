#include "core/checkpoint/folder.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "core/data/crc32c.h"
#include "core/data/file.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr std::string_view kState = "state/";
constexpr size_t kCopyBytes = size_t{1} << 20;  // fits the second-level caches: a piece is summed and copied from there

}  // namespace

void check_file_name(const std::string& name, const std::string& origin) {
  const std::string_view text = name;
  const std::string_view base = text.substr(text.starts_with(kState) ? kState.size() : 0);
  const bool plain = std::all_of(base.begin(), base.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
  if (base.empty() || base.size() > 255 || base.front() == '.' || !plain) {
    throw Error(ExitCode::kData, origin + ": \"" + name.substr(0, 300) +
                                     "\" is not allowed as a file name (letters, digits, '.', '_' and '-', no folder, "
                                     "no dot at the start)");
  }
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File::File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

int64_t File::size() const {
  struct stat status{};
  if (::fstat(descriptor_, &status) != 0) throw file_error("stat", path_);
  if (!S_ISREG(status.st_mode)) throw Error(ExitCode::kData, path_ + ": not a regular file");
  return status.st_size;
}

void File::read(int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor_, out.data(), std::min(out.size(), size_t{1} << 30), offset);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw file_error("read", path_);
    }
    if (got == 0)
      throw Error(ExitCode::kData, path_ + ": ends at byte " + std::to_string(offset) + ", more was expected");
    offset += got;
    out = out.subspan(static_cast<size_t>(got));
  }
}

uint32_t File::checksum(int64_t& bytes) const {
  std::vector<std::byte> piece(kCopyBytes);
  uint32_t crc = 0;
  bytes = 0;
  for (;;) {
    const ssize_t got = ::pread(descriptor_, piece.data(), piece.size(), bytes);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw file_error("read", path_);
    }
    if (got == 0) return crc;
    crc = crc32c(std::span(piece).first(static_cast<size_t>(got)), crc);
    bytes += got;
  }
}

void File::reserve(int64_t bytes) {
  if (::ftruncate(descriptor_, bytes) != 0) throw file_error("set the length of", path_);
  if (bytes == 0) return;
  // Not posix_fallocate: without support from the file system it writes into every block instead.
  while (::fallocate(descriptor_, 0, 0, bytes) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return;
    throw file_error("reserve " + std::to_string(bytes) + " bytes for", path_);
  }
}

uint32_t File::write(int64_t offset, std::span<const std::byte> bytes) {
  uint32_t crc = 0;
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kCopyBytes));
    const ssize_t written = ::pwrite(descriptor_, piece.data(), piece.size(), offset);
    if (written < 0) {
      if (errno == EINTR) continue;
      throw file_error("write", path_);
    }
    crc = crc32c(piece.first(static_cast<size_t>(written)), crc);
    offset += written;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return crc;
}

void File::finish() {
  CHECK_GE(descriptor_, 0) << "finished twice: " << path_;
  if (::fsync(descriptor_) != 0) throw file_error("fsync", path_);
  if (::close(std::exchange(descriptor_, -1)) != 0) throw file_error("close", path_);
}

Folder::Folder(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (descriptor_ < 0) throw file_error("open folder", path);
}

Folder::~Folder() { ::close(descriptor_); }

int Folder::open_descriptor(const std::string& name, int flags) const {
  check_file_name(name, path_);
  flags |= O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;  // not to wait for the writer of a named pipe
  if (!name.starts_with(kState)) return ::openat(descriptor_, name.c_str(), flags, 0666);
  const int state = ::openat(descriptor_, "state", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (state < 0) return -1;
  const int descriptor = ::openat(state, name.c_str() + kState.size(), flags, 0666);
  const int number = errno;
  ::close(state);
  errno = number;
  return descriptor;
}

File Folder::open(const std::string& name) const {
  const std::string path = path_ + "/" + name;
  const int descriptor = open_descriptor(name, O_RDONLY);
  if (descriptor < 0) {
    if (errno == ELOOP || errno == ENOTDIR) {
      const std::string what = errno == ELOOP ? ": a symbolic link" : ": \"state\" is a link or no folder";
      throw Error(ExitCode::kData, path + what + "; files are only read from the folder itself",
                  "copy the folder with its links resolved (cp -rL)");
    }
    const Error error = file_error("open", path);
    throw errno == ENOENT ? Error(ExitCode::kData, error.what()) : error;
  }
  File file(descriptor, path);
  file.size();  // refuses what is no regular file
  return file;
}

File Folder::open_for_writing(const std::string& name) const {
  const std::string path = path_ + "/" + name;
  const int descriptor = open_descriptor(name, O_WRONLY);
  if (descriptor < 0) throw file_error("open", path);
  return File(descriptor, path);
}

File Folder::create(const std::string& name) const {
  const std::string path = path_ + "/" + name;
  const int descriptor = open_descriptor(name, O_WRONLY | O_CREAT | O_EXCL);
  if (descriptor < 0) throw file_error("create", path);
  return File(descriptor, path);
}

std::string Folder::read_text(const std::string& name, int64_t max_bytes) const {
  const File file = open(name);
  const int64_t bytes = file.size();
  if (bytes > max_bytes) {
    throw Error(ExitCode::kData, file.path() + ": " + std::to_string(bytes) + " bytes are more than the limit of " +
                                     std::to_string(max_bytes));
  }
  std::string text(static_cast<size_t>(bytes), '\0');
  file.read(0, std::as_writable_bytes(std::span(text.data(), text.size())));
  return text;
}

uint32_t Folder::write_text(const std::string& name, std::string_view text) const {
  File file = create(name);
  const uint32_t crc = file.write(0, std::as_bytes(std::span(text.data(), text.size())));
  file.finish();
  return crc;
}

}  // namespace tsugi
