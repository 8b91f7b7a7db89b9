#include "core/train/metrics/append_file.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/data/file.h"

namespace tsugi {

AppendFile::AppendFile(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) warn("open");
}

AppendFile::~AppendFile() {
  if (descriptor_ >= 0 && ::close(descriptor_) != 0) warn("close");
}

bool AppendFile::append(std::string_view record) {
  if (descriptor_ < 0) return false;
  const off_t before = ::lseek(descriptor_, 0, SEEK_END);
  std::string_view rest = record;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      warn("write");
      if (before >= 0 && rest.size() < record.size() && ::ftruncate(descriptor_, before) != 0) warn("truncate");
      return false;
    }
    rest.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

void AppendFile::sync() {
  // EINVAL: a pipe or a special file, which has nothing to sync.
  if (descriptor_ >= 0 && ::fdatasync(descriptor_) != 0 && errno != EINVAL && errno != EROFS) warn("sync");
}

void AppendFile::warn(const std::string& action) {
  const Error error = file_error(action, path_);  // reads errno before anything changes it
  if (!std::exchange(warned_, true)) LOG(WARNING) << error.what() << "; training goes on without these records";
}

}  // namespace tsugi
