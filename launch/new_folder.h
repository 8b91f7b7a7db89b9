// A folder that takes its name when it is complete.
#pragma once

#include <filesystem>
#include <string>

namespace tsugi {

class NewFolder {
 public:
  /// Makes PATH.partial. Throws Error(kUsage) when `path` is there and not an empty folder, Error(kInputOutput).
  explicit NewFolder(const std::string& path);
  /// Removes what was not committed.
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  /// Where to write until then.
  std::string path() const { return partial_.string(); }
  /// Syncs it and gives it its name.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path partial_;
  bool committed_ = false;
};

}  // namespace tsugi
