#include "launch/new_folder.h"

#include "core/data/file.h"
#include "ops/base/error.h"

namespace tsugi {

namespace fs = std::filesystem;

NewFolder::NewFolder(const std::string& path) : path_(fs::path(path).lexically_normal()), partial_(path_) {
  if (!path_.has_filename()) path_ = path_.parent_path();
  partial_ = path_.string() + ".partial";
  if (fs::exists(path_) && !(fs::is_directory(path_) && fs::is_empty(path_))) {
    throw Error(ExitCode::kUsage, path_.string() + " exists already", "choose another --out");
  }
  std::error_code failure;
  if (path_.has_parent_path()) fs::create_directories(path_.parent_path(), failure);
  fs::remove_all(partial_, failure);
  if (!fs::create_directory(partial_, failure)) {
    throw Error(ExitCode::kInputOutput, "cannot create folder " + partial_.string() + ": " + failure.message());
  }
}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(partial_, ignored);
}

void NewFolder::commit() {
  sync_folder(partial_.string());
  std::error_code failure;
  fs::rename(partial_, path_, failure);
  if (failure) {
    throw Error(ExitCode::kInputOutput,
                "cannot rename " + partial_.string() + " to " + path_.string() + ": " + failure.message());
  }
  committed_ = true;
  sync_folder(path_.has_parent_path() ? path_.parent_path().string() : ".");
}

}  // namespace tsugi
