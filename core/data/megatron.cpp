#include <array>
#include <bit>
#include <cstring>
#include <filesystem>

#include "core/data/token_part.h"
#include "ops/base/checked.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr std::array<char, 9> kMagic = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0};
constexpr int64_t kHeaderBytes = 34;
constexpr int64_t kMaxCount = int64_t{1} << 48;  // any file of so many entries would be larger than a disk

static_assert(std::endian::native == std::endian::little, "fields are read as they lie in the file");

/// Fields of the index lie at odd addresses.
template <class T>
T field(std::span<const std::byte> bytes, int64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

TokenType type_of(const std::string& path, uint8_t code) {
  switch (code) {
    case 1:
      return TokenType::kU8;
    case 2:
      return TokenType::kI8;
    case 3:
      return TokenType::kI16;
    case 4:
      return TokenType::kI32;
    case 5:
      return TokenType::kI64;
    case 6:
    case 7:
      fail_token_file(path, "header says type " + std::to_string(code) + ", floating point: these are no token ids");
    case 8:
      return TokenType::kU16;
    default:
      fail_token_file(path, "header says type " + std::to_string(code) + "; known are 1 to 8");
  }
}

/// The arrays of an index whose size is that of its header.
struct Index {
  std::string path;
  MappedFile file;
  TokenType type = TokenType::kU16;
  int64_t sequences = 0;
  int64_t bounds = 0;

  explicit Index(const std::string& name) : path(name), file(name) {
    const std::span<const std::byte> bytes = file.bytes();
    const auto size = static_cast<int64_t>(bytes.size());
    if (size < kHeaderBytes) {
      fail_token_file(path, "truncated: " + std::to_string(size) + " bytes, its header alone has 34");
    }
    if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
      fail_token_file(path, "not a Megatron index (wrong first 9 bytes)");
    }
    const auto version = field<uint64_t>(bytes, 9);
    if (version != 1) fail_token_file(path, "Megatron index version " + std::to_string(version) + "; known is 1");
    type = type_of(path, field<uint8_t>(bytes, 17));
    sequences = count(field<uint64_t>(bytes, 18), "sequences");
    bounds = count(field<uint64_t>(bytes, 26), "document bounds");
    int64_t expected = checked_add(kHeaderBytes, checked_multiply(sequences, 12, path + ": size of the sequences"),
                                   path + ": size of the index");
    expected = checked_add(expected, checked_multiply(bounds, 8, path + ": size of the document bounds"),
                           path + ": size of the index");
    const bool modes = size == checked_add(expected, sequences, path + ": size of the index") && sequences > 0;
    if (size != expected && !modes) {
      fail_token_file(path,
                      "header says " + std::to_string(sequences) + " sequences and " + std::to_string(bounds) +
                          " document bounds, " + std::to_string(expected) + " bytes; the file has " +
                          std::to_string(size),
                      size < expected ? "the file is truncated or its header damaged" : "");
    }
    for (int64_t i = 0; modes && i < sequences; ++i) {
      const auto mode = field<int8_t>(bytes, expected + i);
      if (mode != 0) {
        fail_token_file(path, "sequence " + std::to_string(i) + " has mode " + std::to_string(mode) +
                                  "; only text (0) is supported");
      }
    }
  }

  int64_t count(uint64_t value, const char* what) const {
    if (value > static_cast<uint64_t>(kMaxCount)) {
      fail_token_file(path, "header says " + std::to_string(value) + " " + what);
    }
    return static_cast<int64_t>(value);
  }
  int32_t length(int64_t i) const { return field<int32_t>(file.bytes(), kHeaderBytes + 4 * i); }
  int64_t pointer(int64_t i) const { return field<int64_t>(file.bytes(), kHeaderBytes + 4 * sequences + 8 * i); }
  int64_t bound(int64_t i) const { return field<int64_t>(file.bytes(), kHeaderBytes + 12 * sequences + 8 * i); }
};

/// Checks every sequence and bound, and fills tokens and documents.
void walk(const Index& index, TokenPart& part) {
  const int64_t width = bytes_of(index.type);
  if (index.bounds > 0 && index.bound(0) != 0) {
    fail_token_file(index.path, "document bound 0 is " + std::to_string(index.bound(0)) + "; must be 0");
  }
  int64_t bound = 0;
  for (int64_t i = 0; i <= index.sequences; ++i) {
    // All documents that begin with sequence i; the last bound is the end of the last document.
    for (; bound < index.bounds && index.bound(bound) == i; ++bound) {
      if (part.documents.empty() || part.documents.back() < part.tokens) part.documents.push_back(part.tokens);
    }
    if (bound < index.bounds && index.bound(bound) < i) {
      fail_token_file(index.path, "document bound " + std::to_string(bound) + " is " +
                                      std::to_string(index.bound(bound)) + "; bounds must ascend");
    }
    if (i == index.sequences) break;
    const std::string name = "sequence " + std::to_string(i);
    if (index.length(i) < 0) {
      fail_token_file(index.path, name + " has the length " + std::to_string(index.length(i)));
    }
    const int64_t begin = checked_multiply(part.tokens, width, index.path + ": place of " + name);
    if (index.pointer(i) != begin) {
      fail_token_file(
          index.path,
          name + " starts at byte " + std::to_string(index.pointer(i)) + "; expected " + std::to_string(begin),
          "sequences that do not lie one after another are not supported");
    }
    part.tokens = checked_add(part.tokens, index.length(i), index.path + ": number of tokens");
  }
  if (bound != index.bounds) {
    fail_token_file(index.path, "document bound " + std::to_string(bound) + " is " +
                                    std::to_string(index.bound(bound)) + ", there are " +
                                    std::to_string(index.sequences) + " sequences");
  }
  while (!part.documents.empty() && part.documents.back() >= part.tokens) part.documents.pop_back();
  // Bounds that are absent or begin late leave the start unknown; then the list says nothing.
  if (!part.documents.empty() && part.documents.front() != 0) part.documents.clear();
}

}  // namespace

bool is_megatron_index(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  const MappedFile file(path);
  return file.bytes().size() >= kMagic.size() && std::memcmp(file.bytes().data(), kMagic.data(), kMagic.size()) == 0;
}

TokenPart open_megatron_part(const std::string& index_path) {
  const Index index(index_path);
  const std::string path = std::filesystem::path(index_path).replace_extension(".bin").string();
  TokenPart part;
  part.path = path;
  part.file = MappedFile(path);
  part.type = index.type;
  walk(index, part);
  if (part.tokens == 0) fail_token_file(index_path, "holds no tokens");
  const int64_t expected = checked_multiply(part.tokens, bytes_of(part.type), index_path + ": size of the tokens");
  if (expected != static_cast<int64_t>(part.file.bytes().size())) {
    fail_token_file(path,
                    index_path + " says " + std::to_string(expected) + " bytes of tokens, the file has " +
                        std::to_string(part.file.bytes().size()),
                    "one of the two is truncated or belongs to another");
  }
  return part;
}

}  // namespace tsugi
