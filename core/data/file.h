// Files: whole reads, durable writes, read-only maps. Errors are Error(kInputOutput) with the path and errno's text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/base/error.h"

namespace tsugi {

/// "cannot ACTION PATH: <text of errno>"; reads errno at the call.
Error file_error(const std::string& action, const std::string& path);

/// The whole file. More than `max_bytes` is an Error(kData): nothing is allocated beyond the limit.
std::string read_file(const std::string& path, int64_t max_bytes);

/// After return the file has exactly this content and survives a crash; before, `path` is as it was. Written to a
/// temporary name beside `path`, fsynced, renamed over it, and the folder fsynced.
void write_file_durably(const std::string& path, std::string_view text);

/// The paths that a shell pattern (`*`, `?`, `[…]`) matches, sorted by their bytes. None is an Error(kData).
std::vector<std::string> match_paths(const std::string& pattern);
/// True when the text has a character that means something in a pattern.
bool is_pattern(const std::string& text);

/// fsync of a folder: makes renames and new names in it durable.
void sync_folder(const std::string& path);

/// A file that appears under its name only when it is complete. Without commit() the destructor removes it.
class DurableFile {
 public:
  /// Creates a temporary file beside `path`.
  explicit DurableFile(std::string path);
  /// Goes on with the first `size` bytes of `path`.partial, which the destructor leaves there; 0: begins anew. Throws
  /// Error(kData) when that file is shorter.
  DurableFile(std::string path, int64_t size);
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  /// Appends; unbuffered.
  void write(std::span<const std::byte> bytes);
  /// Overwrites bytes that were written before (a header whose counts are known at the end).
  void overwrite(int64_t offset, std::span<const std::byte> bytes);
  /// fsync: what was written survives a crash (under the temporary name).
  void sync();
  /// Bytes [offset, offset + out.size()) that were written before.
  void read_back(int64_t offset, std::span<std::byte> out) const;
  /// fsync, close, rename to `path`, fsync of the folder.
  void commit();

  int64_t size() const { return size_; }

 private:
  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
  int64_t size_ = 0;
  bool keep_ = false;
};

/// A read-only map of a regular file. A file that is truncated by somebody else while it is mapped ends the process
/// (SIGBUS); an empty file maps to an empty span.
class MappedFile {
 public:
  /// An empty span.
  MappedFile() = default;
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace tsugi
