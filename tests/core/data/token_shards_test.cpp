#include "core/data/token_shards.h"

#include <gmock/gmock.h>

#include <numeric>

#include "core/data/crc32c.h"
#include "core/data/token_file.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;
using testing::read_tokens;
using testing::TestFolder;

/// Ids `first`, `first` + 1, … in two documents, the first of one token.
void write_shard(const std::string& path, int32_t first, int32_t count, int64_t vocabulary = 100) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), first);
  TokenFileWriter writer(path, vocabulary);
  writer.add_document(std::span(ids).first(1));
  writer.add_document(std::span(ids).subspan(1));
  writer.finish();
}

ShardIndex::Shard describe(const TestFolder& folder, const std::string& name) {
  const std::string bytes = read_file(folder / name, 1 << 20);
  const TokenFile file = TokenFile::open(folder / name);
  return {name, file.tokens(), static_cast<int64_t>(file.documents().size()), static_cast<int64_t>(bytes.size()),
          crc32c(std::as_bytes(std::span(bytes)))};
}

/// Ids 0 … 22 in shards of 10, 5 and 8.
std::string write_shards(const TestFolder& folder) {
  write_shard(folder / "t-0.bin", 0, 10);
  write_shard(folder / "t-1.bin", 10, 5);
  write_shard(folder / "t-2.bin", 15, 8);
  ShardIndex index;
  index.path = folder / "t.index.json";
  index.vocabulary = 100;
  for (const char* name : {"t-0.bin", "t-1.bin", "t-2.bin"}) index.shards.push_back(describe(folder, name));
  write_shard_index(index);
  return index.path;
}

TEST(TokenShards, AreOneSpaceOfTokens) {
  const TestFolder folder;
  const std::string index = write_shards(folder);
  EXPECT_EQ(std::filesystem::status(index).permissions() & std::filesystem::perms(0222), std::filesystem::perms::none);
  for (const std::string& path : {index, folder / "t-?.bin", folder.path()}) {
    const TokenFile file = TokenFile::open(path);
    EXPECT_EQ(file.tokens(), 23);
    EXPECT_EQ(file.vocabulary(), 100);
    EXPECT_THAT(std::vector<int64_t>(file.documents().begin(), file.documents().end()),
                ElementsAre(0, 1, 10, 11, 15, 16));
    for (int64_t offset = 0; offset <= 23; ++offset) {
      for (int64_t count = 0; offset + count <= 23; ++count) {
        std::vector<int32_t> expected(static_cast<size_t>(count));
        std::iota(expected.begin(), expected.end(), static_cast<int32_t>(offset));
        ASSERT_EQ(read_tokens(file, offset, count), expected) << offset;
      }
    }
    EXPECT_THAT(message_of(ExitCode::kData, [&] { read_tokens(file, 0, 23, 17); }),
                AllOf(HasSubstr("t-2.bin"), HasSubstr("token 2 has id 17")));
  }
}

TEST(TokenShards, FingerprintCoversWhatLiesInTheMiddleOfShards) {
  const TestFolder folder;
  std::vector<int32_t> ids(20'000, 1);
  const auto fingerprint = [&] {
    TokenFileWriter writer(folder / "a.bin", 100);
    writer.add_document(ids);
    writer.finish();
    ShardIndex index;
    index.path = folder / "a.index.json";
    index.vocabulary = 100;
    index.shards.push_back(describe(folder, "a.bin"));
    write_shard_index(index);
    return TokenFile::open(index.path).fingerprint();
  };
  const uint64_t before = fingerprint();
  EXPECT_EQ(fingerprint(), before);
  ids[10'000] = 2;
  EXPECT_NE(fingerprint(), before);
}

TEST(TokenShards, VerifyFindsAChangedByte) {
  const TestFolder folder;
  const std::string index = write_shards(folder);
  EXPECT_NO_THROW(verify_shards(read_shard_index(index)));
  const uint64_t intact = TokenFile::open(index).fingerprint();
  std::string bytes = read_file(folder / "t-1.bin", 1000);
  bytes[70] ^= 1;
  folder.write("t-1.bin", bytes);
  EXPECT_NE(TokenFile::open(index).fingerprint(), intact) << "ranks that read another shard disagree";
  EXPECT_THAT(message_of(ExitCode::kData, [&] { verify_shards(read_shard_index(index)); }), HasSubstr("t-1.bin"));
}

TEST(TokenShards, AnExchangedShardIsAnError) {
  const TestFolder folder;
  const std::string index = write_shards(folder);
  write_shard(folder / "t-1.bin", 10, 6);
  EXPECT_THAT(message_of(ExitCode::kData, [&] { TokenFile::open(index); }),
              AllOf(HasSubstr("t-1.bin"), HasSubstr("76 bytes")));
  write_shard(folder / "t-1.bin", 10, 5, 99);
  EXPECT_THAT(message_of(ExitCode::kData, [&] { TokenFile::open(index); }), HasSubstr("vocabulary"));
  write_shard(folder / "t-1.bin", 10, 5);
  std::filesystem::remove(folder / "t-1.bin.documents");
  EXPECT_THAT(message_of(ExitCode::kData, [&] { TokenFile::open(index); }), HasSubstr("0 documents"));
  std::filesystem::remove(folder / "t-1.bin");
  EXPECT_THAT(message_of(ExitCode::kInputOutput, [&] { TokenFile::open(index); }), HasSubstr("t-1.bin"));
}

TEST(TokenShards, LiesOfTheIndex) {
  const TestFolder folder;
  const std::string good = read_file(write_shards(folder), 10'000);
  const auto error = [&](const std::string& from, const std::string& to) {
    EXPECT_THAT(good, HasSubstr(from));
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    const std::string path = folder.write("bad.index.json", text);
    const std::string message = message_of(ExitCode::kData, [&] { TokenFile::open(path); });
    EXPECT_THAT(message, HasSubstr(path));
    return message;
  };
  for (const char* name : {"../t-0.bin", "/etc/passwd", ".hidden", "", "a/b", "t-0.bin\\u0000"}) {
    EXPECT_THAT(error("t-0.bin", name), HasSubstr("shards[0].file: must be the name of a file in the same folder"));
  }
  EXPECT_THAT(error("t-0.bin", "t-1.bin"), HasSubstr("hash: differs"));
  EXPECT_THAT(error("\"tokens\": 23", "\"tokens\": 24"), HasSubstr("tokens: is not the sum"));
  EXPECT_THAT(error("\"documents\": 6", "\"documents\": 5"), HasSubstr("documents: is not the sum"));
  EXPECT_THAT(error("\"tokens\": 10,", "\"tokens\": 0,"), HasSubstr("shards[0].tokens"));
  EXPECT_THAT(error("\"tokens\": 10,", "\"tokens\": 9223372036854775807,"), HasSubstr("shards[0].tokens"));
  EXPECT_THAT(error("\"version\": 1", "\"version\": 2"), HasSubstr("version: is not known"));
  EXPECT_THAT(error("tsugi token shards", "shards"), HasSubstr("format"));
  EXPECT_THAT(error("\"crc32c\": \"", "\"crc32c\": \"0"), HasSubstr("8 hexadecimal digits"));
  EXPECT_THAT(error("\"hash\"", "\"haste\": 1, \"hash\""), HasSubstr("unknown member \"haste\""));
}

TEST(TokenFile, PatternsAndFoldersSayWhatIsMissing) {
  const TestFolder folder;
  write_shards(folder);
  const auto error = [&](const std::string& path) {
    return message_of(ExitCode::kData, [&] { TokenFile::open(path); });
  };
  EXPECT_THAT(error(folder / "u-*.bin"), HasSubstr("no file matches"));
  std::filesystem::create_directory(folder / "empty");
  EXPECT_THAT(error(folder / "empty"), HasSubstr("no token file"));
  write_shard(folder / "t_val_0.bin", 0, 5);
  EXPECT_THAT(error(folder.path()), HasSubstr("t_val_0.bin"));
  write_shard(folder / "t-3.bin", 0, 5, 7);
  EXPECT_THAT(error(folder / "t-*.bin"), AllOf(HasSubstr("t-3.bin"), HasSubstr("vocabulary of 7")));
}

}  // namespace
}  // namespace tsugi
