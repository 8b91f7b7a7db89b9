#include <gmock/gmock.h>

#include <cstring>

#include "core/data/token_file.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;
using testing::TestFolder;

template <class T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}
template <class T>
std::string changed(std::string bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
  return bytes;
}

/// As megatron/core/datasets/indexed_dataset.py writes it: struct.pack("<Q", 1), struct.pack("<B", code), counts, then
/// numpy int32 lengths, int64 pointers, int64 document indices.
std::string index_of(uint8_t code, const std::vector<int32_t>& lengths, const std::vector<int64_t>& bounds,
                     int64_t width) {
  std::string bytes("MMIDIDX\0\0", 9);
  append<uint64_t>(bytes, 1);
  append(bytes, code);
  append<uint64_t>(bytes, lengths.size());
  append<uint64_t>(bytes, bounds.size());
  for (const int32_t length : lengths) append(bytes, length);
  int64_t pointer = 0;
  for (const int32_t length : lengths) {
    append(bytes, pointer);
    pointer += length * width;
  }
  for (const int64_t bound : bounds) append(bytes, bound);
  return bytes;
}

template <class T>
std::string tokens_of(const std::vector<int64_t>& ids) {
  std::string bytes;
  for (const int64_t id : ids) append(bytes, static_cast<T>(id));
  return bytes;
}

std::vector<int32_t> all_of(const TokenFile& file, int64_t vocabulary) {
  std::vector<int32_t> ids(static_cast<size_t>(file.tokens()));
  file.read(0, vocabulary, ids);
  return ids;
}

template <class T>
void round_trip(uint8_t code, int64_t largest) {
  const TestFolder folder;
  const std::vector<int64_t> ids = {3, 1, 4, largest, 5, 9, 0};
  folder.write("d.bin", tokens_of<T>(ids));
  // Three sequences, the first two one document; document 1 is empty, as is the last.
  const std::string index = folder.write("d.idx", index_of(code, {2, 1, 4}, {0, 2, 2, 3, 3}, sizeof(T)));
  for (const std::string& path : {folder / "d.bin", index}) {
    const TokenFile file = TokenFile::open(path);
    EXPECT_EQ(all_of(file, largest + 1), std::vector<int32_t>(ids.begin(), ids.end())) << int{code};
    EXPECT_THAT(std::vector<int64_t>(file.documents().begin(), file.documents().end()), ElementsAre(0, 3));
    EXPECT_EQ(file.vocabulary(), 0);
    EXPECT_THAT(message_of(ExitCode::kData, [&] { all_of(file, largest); }),
                HasSubstr("token 3 has id " + std::to_string(largest)));
  }
}

TEST(Megatron, ReadsEveryTypeThatCanBeAnId) {
  round_trip<uint8_t>(1, 255);
  round_trip<int8_t>(2, 127);
  round_trip<int16_t>(3, 32767);
  round_trip<int32_t>(4, 2147483647);
  round_trip<int64_t>(5, 2147483647);
  round_trip<uint16_t>(8, 65535);
}

TEST(Megatron, NegativeAndHugeIdsAreErrors) {
  const TestFolder folder;
  const auto error = [&](uint8_t code, const std::string& tokens, int64_t width) {
    folder.write("d.bin", tokens);
    folder.write("d.idx", index_of(code, {1}, {0, 1}, width));
    return message_of(ExitCode::kData, [&] { all_of(TokenFile::open(folder / "d.bin"), int64_t{1} << 31); });
  };
  EXPECT_THAT(error(2, tokens_of<int8_t>({-1}), 1), HasSubstr("id -1,"));
  EXPECT_THAT(error(3, tokens_of<int16_t>({-300}), 2), HasSubstr("id -300,"));
  EXPECT_THAT(error(4, tokens_of<int32_t>({-7}), 4), HasSubstr("id -7,"));
  EXPECT_THAT(error(5, tokens_of<int64_t>({int64_t{1} << 32}), 8), HasSubstr("id 4294967296,"));
  EXPECT_THAT(error(5, tokens_of<int64_t>({-1}), 8), HasSubstr("id -1,"));
}

TEST(Megatron, LiesOfTheIndex) {
  const TestFolder folder;
  folder.write("d.bin", tokens_of<uint16_t>({1, 2, 3, 4, 5}));
  const std::string good = index_of(8, {2, 3}, {0, 1, 2}, 2);  // lengths at 34, pointers at 42, bounds at 58
  ASSERT_EQ(good.size(), 82u);
  const auto error = [&](const std::string& index) {
    folder.write("d.idx", index);
    const std::string message = message_of(ExitCode::kData, [&] { TokenFile::open(folder / "d.idx"); });
    EXPECT_THAT(message, HasSubstr(folder / "d."));
    return message;
  };
  EXPECT_THAT(error(""), HasSubstr("truncated: 0 bytes"));
  EXPECT_THAT(error(good.substr(0, 33)), HasSubstr("truncated: 33 bytes"));
  EXPECT_THAT(error(changed(good, 0, 'X')), HasSubstr("not a Megatron index"));
  EXPECT_THAT(error(changed(good, 9, uint64_t{2})), HasSubstr("version 2"));
  EXPECT_THAT(error(changed(good, 17, uint8_t{6})), HasSubstr("floating point"));
  EXPECT_THAT(error(changed(good, 17, uint8_t{7})), HasSubstr("floating point"));
  EXPECT_THAT(error(changed(good, 17, uint8_t{0})), HasSubstr("type 0"));
  EXPECT_THAT(error(changed(good, 17, uint8_t{9})), HasSubstr("type 9"));
  EXPECT_THAT(error(changed(good, 17, uint8_t{4})), HasSubstr("starts at byte 4; expected 8"));
  EXPECT_THAT(error(changed(good, 18, uint64_t{3})), HasSubstr("says 3 sequences and 3 document bounds, 94 bytes"));
  EXPECT_THAT(error(changed(good, 18, ~uint64_t{0})), HasSubstr("18446744073709551615 sequences"));
  EXPECT_THAT(error(changed(good, 18, uint64_t{1} << 62)), HasSubstr("sequences"));
  EXPECT_THAT(error(changed(good, 18, uint64_t{1} << 48)), HasSubstr("bytes; the file has 82"));
  EXPECT_THAT(error(changed(good, 26, uint64_t{4})), HasSubstr("4 document bounds"));
  EXPECT_THAT(error(changed(good, 26, (uint64_t{1} << 61) + 3)), HasSubstr("document bounds")) << "8 times it wraps";
  EXPECT_THAT(error(changed(good, 34, int32_t{-2})), HasSubstr("sequence 0 has the length -2"));
  EXPECT_THAT(error(changed(good, 38, int32_t{4})), HasSubstr("says 12 bytes of tokens, the file has 10"));
  EXPECT_THAT(error(changed(good, 38, std::numeric_limits<int32_t>::max())), HasSubstr("bytes of tokens"));
  EXPECT_THAT(error(changed(good, 42, int64_t{2})), HasSubstr("sequence 0 starts at byte 2; expected 0"));
  EXPECT_THAT(error(changed(good, 50, int64_t{-4})), HasSubstr("sequence 1 starts at byte -4; expected 4"));
  EXPECT_THAT(error(changed(good, 58, int64_t{1})), HasSubstr("document bound 0 is 1; must be 0"));
  EXPECT_THAT(error(changed(good, 66, int64_t{-1})), HasSubstr("document bound 1 is -1"));
  EXPECT_THAT(error(changed(good, 66, int64_t{3})), HasSubstr("document bound 1 is 3, there are 2"));
  EXPECT_THAT(error(changed(good, 74, int64_t{0})), HasSubstr("document bound 2 is 0; bounds must ascend"));
  EXPECT_THAT(error(index_of(8, {0, 0}, {0, 2}, 2)), HasSubstr("holds no tokens"));
  EXPECT_THAT(error(good + std::string("\0\1", 2)), HasSubstr("sequence 1 has mode 1"));
  folder.write("d.idx", good + std::string(2, '\0'));
  EXPECT_EQ(TokenFile::open(folder / "d.bin").tokens(), 5) << "all modes are text";
  folder.write("d.bin", tokens_of<uint16_t>({1, 2, 3, 4}));
  EXPECT_THAT(error(good), AllOf(HasSubstr("says 10 bytes of tokens, the file has 8"), HasSubstr("d.bin")));
  std::filesystem::remove(folder / "d.bin");
  EXPECT_THAT(message_of(ExitCode::kInputOutput, [&] { TokenFile::open(folder / "d.idx"); }), HasSubstr("d.bin"));
}

}  // namespace
}  // namespace tsugi
