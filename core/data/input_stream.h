// Files read from beginning to end, decompressed by their names.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace tsugi {

/// The bytes of a regular file: of NAME.gz those that gzip compressed (any number of members), of NAME.zst those that
/// zstd did (any number of frames, windows up to 128 MiB), of any other as they are. Memory is bounded whatever the
/// file says.
class InputStream {
 public:
  /// Throws Error(kInputOutput) when the file cannot be opened or is no regular file.
  static std::unique_ptr<InputStream> open(const std::string& path);
  virtual ~InputStream() = default;

  /// Fills `out`; returns fewer bytes only at the end. Throws Error(kData) naming the file when it is truncated,
  /// damaged or in another format than its name says; Error(kInputOutput).
  virtual size_t read(std::span<char> out) = 0;
  /// Goes to byte `offset` of what is read. Costs reading all before it when compressed; only forwards then.
  virtual void skip_to(int64_t offset) = 0;
  /// Bytes of the file itself, compressed or not, that were read so far.
  virtual int64_t consumed() const = 0;
};

/// `path` without .gz or .zst.
std::string without_compression(const std::string& path);

}  // namespace tsugi
