// Folders whose content is not trusted, and files read and written at offsets. A name from a manifest or an index
// cannot lead out of its folder: it is a plain name, and links are never followed below the folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tsugi {

/// Throws Error(kData) that names `origin` unless `name` is "NAME" or "state/NAME", NAME being 1 to 255 characters of
/// [A-Za-z0-9._-] with no dot at the start.
void check_file_name(const std::string& name, const std::string& origin);

/// An open regular file. All errors name the file.
class File {
 public:
  File(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const;

  /// Bytes [offset, offset + out.size()). Error(kData) when the file ends before.
  void read(int64_t offset, std::span<std::byte> out) const;
  /// CRC32C of the whole file, and its length in `bytes`.
  uint32_t checksum(int64_t& bytes) const;

  /// Sets the length of a new file and takes its room on the disk, so that a full one is found before hours of work
  /// go into it. Where the file system cannot promise room, only the length is set.
  void reserve(int64_t bytes);
  /// Writes at an offset; the CRC32C of the bytes as they were in memory.
  uint32_t write(int64_t offset, std::span<const std::byte> bytes);
  /// fsync and close. After an error nothing is known of the file's content: it must be written anew.
  void finish();

 private:
  int descriptor_;
  std::string path_;
};

/// A folder, held open.
class Folder {
 public:
  explicit Folder(const std::string& path);
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }

  /// Opens a file for reading. Error(kData) when it is missing, is no regular file, or is a link.
  File open(const std::string& name) const;
  /// Opens a file that another rank created, for writing.
  File open_for_writing(const std::string& name) const;
  /// Creates a file; it is an error when there is one.
  File create(const std::string& name) const;
  /// The whole file; more than `max_bytes` is an Error(kData).
  std::string read_text(const std::string& name, int64_t max_bytes) const;
  /// Creates, writes and syncs a small file; the CRC32C of `text`.
  uint32_t write_text(const std::string& name, std::string_view text) const;

 private:
  int open_descriptor(const std::string& name, int flags) const;

  std::string path_;
  int descriptor_;
};

}  // namespace tsugi
