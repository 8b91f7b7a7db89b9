#include "core/data/folders.h"

#include <filesystem>
#include <system_error>

#include "ops/base/error.h"

namespace tsugi {

void make_folders(const std::string& path) {
  if (path.empty()) throw Error(ExitCode::kUsage, "cannot create a folder: its name is empty", "name one with --out");
  std::error_code failure;
  std::filesystem::create_directories(path, failure);
  // A trailing slash makes the library forget why it failed.
  if (!failure && !std::filesystem::is_directory(path, failure) && !failure) {
    failure = std::make_error_code(std::errc::not_a_directory);
  }
  if (failure) throw Error(ExitCode::kInputOutput, "cannot create folder " + path + ": " + failure.message());
}

}  // namespace tsugi
