#include "core/data/images/idx.h"

#include <algorithm>
#include <array>

#include "core/data/file.h"
#include "core/data/input_stream.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr uint8_t kUnsignedByte = 8;
constexpr size_t kIdxPiece = size_t{1} << 24;

}  // namespace

IdxArray read_idx_array(const std::string& path, int64_t max_bytes) {
  const auto refuse = [&](const std::string& reason) { return Error(ExitCode::kData, path + ": " + reason); };
  const std::unique_ptr<InputStream> stream = InputStream::open(path);
  const auto read = [&](uint8_t* to, size_t count) {
    return stream->read(std::span(reinterpret_cast<char*>(to), count));
  };
  std::array<uint8_t, 4> head{};
  if (read(head.data(), head.size()) != head.size()) throw refuse("is shorter than an IDX header");
  if (head[0] != 0 || head[1] != 0) throw refuse("is no IDX file: it does not begin with two zero bytes");
  if (head[2] != kUnsignedByte)
    throw refuse("is an IDX file of type " + std::to_string(head[2]) + ", not of bytes (8)");
  if (head[3] < 1 || head[3] > 4) throw refuse("is an IDX file of " + std::to_string(head[3]) + " extents, not 1 to 4");
  IdxArray array;
  int64_t elements = 1;
  for (int i = 0; i < head[3]; ++i) {
    std::array<uint8_t, 4> word{};
    if (read(word.data(), word.size()) != word.size()) throw refuse("is shorter than its IDX header");
    const int64_t extent = int64_t{word[0]} << 24 | int64_t{word[1]} << 16 | int64_t{word[2]} << 8 | int64_t{word[3]};
    array.extents.push_back(extent);
    if (extent != 0 && elements > max_bytes / extent) {
      throw refuse("says that it holds more than " + std::to_string(max_bytes) + " bytes");
    }
    elements *= extent;
  }
  // Memory grows with what is there, not with what the header says.
  while (static_cast<int64_t>(array.bytes.size()) < elements) {
    const size_t at = array.bytes.size();
    const size_t count = std::min(kIdxPiece, static_cast<size_t>(elements) - at);
    array.bytes.resize(at + count);
    const size_t got = read(array.bytes.data() + at, count);
    if (got != count) {
      throw refuse("ends after " + std::to_string(at + got) + " of " + std::to_string(elements) + " elements");
    }
  }
  uint8_t more = 0;
  if (read(&more, 1) != 0) throw refuse("goes on after its " + std::to_string(elements) + " elements");
  return array;
}

void write_idx_array(const IdxArray& array, const std::string& path) {
  std::vector<uint8_t> header{0, 0, kUnsignedByte, static_cast<uint8_t>(array.extents.size())};
  for (const int64_t extent : array.extents) {
    for (int shift = 24; shift >= 0; shift -= 8) header.push_back(static_cast<uint8_t>(extent >> shift & 0xFF));
  }
  DurableFile file(path);
  file.write(std::as_bytes(std::span(header)));
  file.write(std::as_bytes(std::span(array.bytes)));
  file.commit();
}

}  // namespace tsugi
