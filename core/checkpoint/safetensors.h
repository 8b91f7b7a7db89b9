// The safetensors format: u64 little-endian length N of the header, N bytes of JSON (names, types, shapes, data
// offsets), then the tensors without holes. https://github.com/huggingface/safetensors, README "Format".
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/checkpoint/folder.h"

namespace tsugi {

/// One tensor of a file. Row-major.
struct SafetensorsTensor {
  std::string dtype;  ///< "F32", "BF16", …
  std::vector<int64_t> shape;
  int64_t begin = 0;  ///< of its bytes, from the start of the file
  int64_t end = 0;
  int64_t elements = 0;
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsTensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Bits of one element of a type of the format; 0 when there is no such type.
int safetensors_bits(std::string_view dtype);

/// Reads the header. `beginning` is the file, or as much of it as holds the header; `file_bytes` its length. Refuses
/// whatever the format's own library refuses: a header of more than 100,000,000 bytes or beyond the end of the file,
/// bad JSON or UTF-8, duplicate keys, unknown types, sizes that overflow or differ from the shape, holes, overlaps,
/// bytes after the last tensor. Throws Error(kData) naming `origin`, the tensor and the reason.
SafetensorsHeader parse_safetensors(std::string_view beginning, int64_t file_bytes, const std::string& origin);

/// A file open for reading. It is read, not mapped: a file that shrinks or a disk that fails is an error, not a signal.
class SafetensorsFile {
 public:
  /// Reads and checks the header.
  explicit SafetensorsFile(File file);

  const std::string& path() const { return file_.path(); }
  const SafetensorsHeader& header() const { return header_; }
  /// Null when there is none.
  const SafetensorsTensor* find(const std::string& name) const;

  /// Elements [offset, offset + out.size()) of a tensor of this file, exactly, as fp32. Types: F32, BF16, F16; any
  /// other is an Error(kData).
  void read_floats(const std::string& name, int64_t offset, std::span<float> out) const;

 private:
  File file_;
  SafetensorsHeader header_;
};

/// A file to be: its header, and where each tensor goes. Tensors may then be written by anyone in any order.
struct SafetensorsLayout {
  std::string header;            ///< the first bytes of the file, padded so that the data are aligned to 8 bytes
  std::vector<int64_t> offsets;  ///< of tensor i's bytes, from the start of the file
  int64_t file_bytes = 0;
};

/// What there is to say of a tensor before it is written.
struct SafetensorsSpec {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
};

/// Places the tensors in the order of the format's own library: larger types first, then by name. Adds the metadata
/// {"format": "pt"}, which Transformers asks for. Names must be unique.
SafetensorsLayout lay_out_safetensors(const std::vector<SafetensorsSpec>& tensors);

/// "[2, 3]", for messages.
std::string shape_text(const std::vector<int64_t>& shape);

/// binary16 to binary32, exactly.
float float_of_half(uint16_t bits);

}  // namespace tsugi
