#include "core/data/token_file.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <numeric>

#include "core/data/crc32c.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;
using testing::read_tokens;
using testing::TestFolder;

std::string open_error(const std::string& path) {
  return message_of(ExitCode::kData, [&] { TokenFile::open(path); });
}

template <class T>
void put(std::string& bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}
template <class T>
void append_value(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

/// Two documents, five tokens, vocabulary 300.
std::string write_small(const TestFolder& folder, const std::string& name = "a.bin") {
  TokenFileWriter writer(folder / name, 300);
  writer.add_document(std::vector<int32_t>{1, 299});
  writer.add_document({});
  writer.add_document(std::vector<int32_t>{0, 256, 255});
  writer.finish();
  return folder / name;
}

TEST(TokenFile, RoundTripOfBothWidths) {
  for (const int64_t vocabulary : {int64_t{2}, int64_t{65536}, int64_t{65537}, int64_t{1} << 31}) {
    const TestFolder folder;
    const auto largest = static_cast<int32_t>(vocabulary - 1);
    std::vector<int32_t> long_document(1'000'000, largest);
    std::iota(long_document.begin(), long_document.begin() + 2, 0);
    TokenFileWriter writer(folder / "a.bin", vocabulary);
    writer.add_document(std::vector<int32_t>{largest});
    writer.add_document(long_document);
    EXPECT_EQ(folder.entries(), 2) << "nothing but temporaries before finish()";
    EXPECT_FALSE(std::filesystem::exists(folder / "a.bin"));
    writer.finish();
    EXPECT_EQ(folder.entries(), 2);

    const TokenFile file = TokenFile::open(folder / "a.bin");
    EXPECT_EQ(file.path(), folder / "a.bin");
    EXPECT_EQ(file.tokens(), 1'000'001);
    EXPECT_EQ(file.vocabulary(), vocabulary);
    EXPECT_THAT(std::vector<int64_t>(file.documents().begin(), file.documents().end()), ElementsAre(0, 1));
    EXPECT_EQ(read_tokens(file, 0, 1, vocabulary), std::vector<int32_t>{largest});
    EXPECT_EQ(read_tokens(file, 1, 1'000'000, vocabulary), long_document);
    EXPECT_EQ(read_tokens(file, 1'000'001, 0, vocabulary), std::vector<int32_t>{});
    const auto width = vocabulary <= 65536 ? 2u : 4u;
    EXPECT_EQ(std::filesystem::file_size(folder / "a.bin"), 64u + width * 1'000'001u);
  }
}

TEST(TokenFile, BytesAreThoseOfTheDescription) {
  const TestFolder folder;
  const std::string bytes = read_file(write_small(folder), 1000);
  std::string expected = "TSUGITOK";
  append_value<uint32_t>(expected, 1);
  append_value<uint32_t>(expected, 2);
  append_value<uint64_t>(expected, 300);
  append_value<uint64_t>(expected, 5);
  append_value<uint64_t>(expected, 2);
  std::string list;
  append_value<uint64_t>(list, 2);
  append_value<int64_t>(list, 0);
  append_value<int64_t>(list, 2);
  const uint32_t checksum = crc32c(std::as_bytes(std::span(list.data(), list.size())));
  append_value<uint32_t>(expected, checksum);
  expected.resize(64);
  for (const uint16_t id : std::initializer_list<uint16_t>{1, 299, 0, 256, 255}) append_value(expected, id);
  EXPECT_EQ(bytes, expected);
  std::string documents = "TSUGIDOC";
  append_value<uint32_t>(documents, 1);
  append_value<uint32_t>(documents, checksum);
  EXPECT_EQ(read_file(folder / "a.bin.documents", 1000), documents + list);
}

TEST(TokenFile, WriterWithoutFinishLeavesNothing) {
  const TestFolder folder;
  {
    TokenFileWriter writer(folder / "a.bin", 10);
    writer.add_document(std::vector<int32_t>{1, 2});
  }
  EXPECT_EQ(folder.entries(), 0);
  EXPECT_THAT(message_of(ExitCode::kData, [&] { TokenFileWriter(folder / "a.bin", 10).finish(); }),
              HasSubstr("no tokens"));
  EXPECT_EQ(folder.entries(), 0);
  EXPECT_THROW(TokenFileWriter(folder / "missing/a.bin", 10), Error);
}

TEST(TokenFile, AWriterGoesOnWhereAnotherStopped) {
  for (const int64_t vocabulary : {300, 70'000}) {
    const TestFolder folder;
    std::vector<std::vector<int32_t>> documents;
    for (int32_t i = 0; i < 400; ++i) {
      documents.emplace_back(static_cast<size_t>(i * i % 9000 + 1), static_cast<int32_t>(i % vocabulary));
    }
    TokenFileWriter whole(folder / "a.bin", vocabulary);
    for (const auto& document : documents) whole.add_document(document);
    const uint32_t checksum = whole.finish();
    const std::string bytes = read_file(folder / "a.bin", 1 << 26);
    EXPECT_EQ(checksum, crc32c(std::as_bytes(std::span(bytes))));

    TokenFileState state;
    for (size_t i = 0; i < documents.size();) {
      TokenFileWriter writer(folder / "b.bin", vocabulary, state);
      EXPECT_EQ(writer.documents(), static_cast<int64_t>(i));
      for (size_t more = i + 70; i < more && i < documents.size(); ++i) {
        const std::span<const int32_t> document(documents[i]);
        writer.add_document(document.first(1));
        writer.extend_document(document.subspan(1));
      }
      state = writer.sync();
      writer.add_document(documents[0]);  // lost: it comes after sync()
    }
    EXPECT_FALSE(std::filesystem::exists(folder / "b.bin"));
    EXPECT_EQ(TokenFileWriter(folder / "b.bin", vocabulary, state).finish(), checksum);
    EXPECT_TRUE(read_file(folder / "b.bin", 1 << 26) == bytes);
    EXPECT_EQ(read_file(folder / "b.bin.documents", 1 << 20), read_file(folder / "a.bin.documents", 1 << 20));
    EXPECT_EQ(folder.entries(), 4);
  }
}

TEST(TokenFile, AWriterDoesNotGoOnBehindDamage) {
  const TestFolder folder;
  const std::string partial = folder / "a.bin.partial";
  TokenFileState state;
  {
    TokenFileWriter writer(folder / "a.bin", 300, {});
    writer.add_document(std::vector<int32_t>{1, 2, 3});
    state = writer.sync();
  }
  const auto error = [&] {
    return message_of(ExitCode::kData, [&] { TokenFileWriter(folder / "a.bin", 300, state); });
  };
  const std::string good = read_file(partial, 1000);
  std::string bytes = good;
  bytes[66] ^= 1;
  folder.write("a.bin.partial", bytes);
  EXPECT_THAT(error(), HasSubstr("checksum"));
  folder.write("a.bin.partial", good.substr(0, 69));
  EXPECT_THAT(error(), HasSubstr("has 69 bytes, 70 were written"));
  folder.write("a.bin.partial", good);
  EXPECT_NO_THROW(TokenFileWriter(folder / "a.bin", 300, state));
}

TEST(TokenFile, IdNotBelowTheVocabularyNamesFileOffsetAndId) {
  const TestFolder folder;
  const std::string path = write_small(folder);
  const TokenFile file = TokenFile::open(path);
  EXPECT_EQ(read_tokens(file, 2, 3, 257), (std::vector<int32_t>{0, 256, 255}));
  EXPECT_THAT(message_of(ExitCode::kData, [&] { read_tokens(file, 0, 5, 257); }),
              AllOf(HasSubstr(path), HasSubstr("token 1 has id 299"), HasSubstr("vocabulary of 257")));
  EXPECT_THAT(message_of(ExitCode::kData, [&] { read_tokens(file, 2, 3, 256); }), HasSubstr("token 3 has id 256"));
  // Ids that would be negative as int32.
  std::string wide = read_file(path, 1000).substr(0, 64);
  put<uint32_t>(wide, 12, 4);
  put<uint64_t>(wide, 24, 2);
  append_value<uint32_t>(wide, 7);
  append_value<uint32_t>(wide, 0xFFFFFFFFu);
  const TokenFile damaged = TokenFile::open(folder.write("wide.bin", wide));
  EXPECT_EQ(read_tokens(damaged, 0, 1, 300)[0], 7);
  EXPECT_THAT(message_of(ExitCode::kData, [&] { read_tokens(damaged, 0, 2, 300); }),
              HasSubstr("token 1 has id 4294967295"));
}

TEST(TokenFileDeathTest, ReadingBehindTheEndIsABug) {
  const TestFolder folder;
  const TokenFile file = TokenFile::open(write_small(folder));
  EXPECT_DEATH(read_tokens(file, 3, 3, 300), "tokens \\[3, \\+3\\) of 5");
  EXPECT_DEATH(read_tokens(file, -1, 1, 300), "tokens");
  EXPECT_DEATH(read_tokens(file, std::numeric_limits<int64_t>::max(), 1, 300), "tokens");
}

TEST(TokenFile, LyingHeaders) {
  const TestFolder folder;
  const std::string good = read_file(write_small(folder), 1000);
  const auto error = [&](size_t offset, auto value) {
    std::string bytes = good;
    put(bytes, offset, value);
    const std::string path = folder.write("bad.bin", bytes);
    std::string message = open_error(path);
    EXPECT_THAT(message, HasSubstr(path));
    return message;
  };
  EXPECT_THAT(error(8, uint32_t{2}), HasSubstr("version 2"));
  EXPECT_THAT(error(8, uint32_t{0}), HasSubstr("version 0"));
  EXPECT_THAT(error(12, uint32_t{0}), HasSubstr("0 bytes per token"));
  EXPECT_THAT(error(12, uint32_t{3}), HasSubstr("3 bytes per token"));
  EXPECT_THAT(error(12, uint32_t{4}), HasSubstr("header says 5 tokens of 4 bytes, the file has 10 bytes"));
  EXPECT_THAT(error(16, uint64_t{0}), HasSubstr("vocabulary of 0"));
  EXPECT_THAT(error(16, uint64_t{65537}), HasSubstr("vocabulary of 65537"));
  EXPECT_THAT(error(24, uint64_t{0}), HasSubstr("no tokens"));
  EXPECT_THAT(error(24, uint64_t{6}), HasSubstr("header says 6 tokens"));
  EXPECT_THAT(error(24, uint64_t{4}), HasSubstr("header says 4 tokens"));
  EXPECT_THAT(error(24, (uint64_t{1} << 63) + 5), HasSubstr("tokens of 2 bytes"));  // 2·count wraps to 10
  EXPECT_THAT(error(24, ~uint64_t{0}), HasSubstr("tokens of 2 bytes"));
}

TEST(TokenFile, EmptyTruncatedAndForeignFiles) {
  const TestFolder folder;
  const std::string good = read_file(write_small(folder), 1000);
  EXPECT_THAT(open_error(folder.write("empty.bin", "")), HasSubstr("empty.bin: the file is empty"));
  EXPECT_THAT(open_error(folder.write("head.bin", good.substr(0, 63))), HasSubstr("truncated: 63 bytes"));
  EXPECT_THAT(open_error(folder.write("short.bin", good.substr(0, good.size() - 1))), HasSubstr("has 9 bytes"));
  EXPECT_THAT(open_error(folder.write("none.bin", good.substr(0, 64))), HasSubstr("has 0 bytes"));
  EXPECT_THAT(open_error(folder.write("long.bin", good + "x")), HasSubstr("has 11 bytes"));
  EXPECT_THAT(open_error(folder.write("a.txt", "Some text.")), HasSubstr("not a token file"));
  EXPECT_THAT(message_of(ExitCode::kInputOutput, [&] { TokenFile::open(folder / "missing.bin"); }),
              AllOf(HasSubstr("missing.bin"), HasSubstr("No such file")));
}

TEST(TokenFile, DocumentsMayBeAbsentButNotWrong) {
  const TestFolder folder;
  const std::string path = write_small(folder);
  const std::string list_path = path + ".documents";
  const std::string good = read_file(list_path, 1000);
  const auto error = [&](const std::string& bytes) {
    folder.write("a.bin.documents", bytes);
    const std::string message = open_error(path);
    EXPECT_THAT(message, HasSubstr(list_path));
    return message;
  };
  const auto changed = [&](size_t offset, auto value, bool forge_checksum) {
    std::string bytes = good;
    put(bytes, offset, value);
    if (forge_checksum) {
      const uint32_t checksum = crc32c(std::as_bytes(std::span(bytes.data(), bytes.size())).subspan(16));
      put(bytes, 12, checksum);
      std::string tokens = read_file(path, 1000);
      put(tokens, 40, checksum);
      folder.write("a.bin", tokens);
    }
    return bytes;
  };
  EXPECT_THAT(error(""), HasSubstr("truncated"));
  EXPECT_THAT(error(good.substr(0, 23)), HasSubstr("truncated: 23 bytes"));
  EXPECT_THAT(error(good.substr(0, 32)), HasSubstr("header says 2 documents"));
  EXPECT_THAT(error(changed(0, 'X', false)), HasSubstr("not a list of documents"));
  EXPECT_THAT(error(changed(8, uint32_t{9}, false)), HasSubstr("version 9"));
  EXPECT_THAT(error(changed(16, (uint64_t{1} << 61) + 2, false)), HasSubstr("documents"));
  EXPECT_THAT(error(changed(32, int64_t{3}, false)), HasSubstr("checksum"));
  EXPECT_THAT(error(changed(32, int64_t{5}, true)), HasSubstr("document 1 starts at token 5"));
  EXPECT_THAT(error(changed(32, int64_t{0}, true)), HasSubstr("document 1 starts at token 0"));
  EXPECT_THAT(error(changed(24, int64_t{1}, true)), HasSubstr("document 0 starts at token 1"));
  EXPECT_THAT(error(changed(32, int64_t{-1}, true)), HasSubstr("document 1 starts at token -1"));
  EXPECT_THAT(error(good), HasSubstr("does not belong")) << "the list of another version of the file";
  std::filesystem::remove(list_path);
  const TokenFile file = TokenFile::open(path);
  EXPECT_TRUE(file.documents().empty());
  EXPECT_EQ(file.tokens(), 5);
}

// karpathy/llm.c, dev/data/data_common.py, write_datafile().
std::string llmc_header(int32_t magic, int32_t version, int32_t tokens) {
  std::string bytes;
  for (const int32_t value : {magic, version, tokens}) append_value(bytes, value);
  bytes.resize(1024);
  return bytes;
}

TEST(TokenFile, ReadsLlmcFiles) {
  const TestFolder folder;
  std::string gpt2 = llmc_header(20240520, 1, 3);
  for (const uint16_t id : std::initializer_list<uint16_t>{50256, 0, 464}) append_value(gpt2, id);
  const TokenFile narrow = TokenFile::open(folder.write("gpt2.bin", gpt2));
  EXPECT_EQ(narrow.tokens(), 3);
  EXPECT_EQ(narrow.vocabulary(), 0);
  EXPECT_TRUE(narrow.documents().empty());
  EXPECT_EQ(read_tokens(narrow, 0, 3, 50257), (std::vector<int32_t>{50256, 0, 464}));

  std::string llama = llmc_header(20240801, 7, 2);
  for (const uint32_t id : {128000u, 17u}) append_value(llama, id);
  const TokenFile wide = TokenFile::open(folder.write("llama.bin", llama));
  EXPECT_EQ(read_tokens(wide, 0, 2, 128256), (std::vector<int32_t>{128000, 17}));

  EXPECT_THAT(open_error(folder.write("v.bin", llmc_header(20240520, 7, 0))), HasSubstr("version 7"));
  EXPECT_THAT(open_error(folder.write("n.bin", llmc_header(20240520, 1, -3) + "xx")), HasSubstr("-3 tokens"));
  EXPECT_THAT(open_error(folder.write("z.bin", llmc_header(20240520, 1, 0))), HasSubstr("no tokens"));
  EXPECT_THAT(open_error(folder.write("s.bin", gpt2.substr(0, 1028))), HasSubstr("header says 3 tokens"));
  EXPECT_THAT(open_error(folder.write("h.bin", gpt2.substr(0, 1000))), HasSubstr("truncated: 1000 bytes"));
}

TEST(TokenFile, ReadsNanoGptFiles) {
  const TestFolder folder;
  std::string bytes;
  for (const uint16_t id : std::initializer_list<uint16_t>{50256, 11, 0}) append_value(bytes, id);
  const TokenFile file = TokenFile::open(folder.write("train.bin", bytes));
  EXPECT_EQ(file.vocabulary(), 0);
  EXPECT_EQ(read_tokens(file, 0, 3, 50257), (std::vector<int32_t>{50256, 11, 0}));
  EXPECT_THAT(open_error(folder.write("odd.bin", bytes + "x")), HasSubstr("odd number of bytes: 7"));
  EXPECT_EQ(read_tokens(TokenFile::open(folder.write("one.bin", bytes.substr(2, 2))), 0, 1, 12)[0], 11);
}

TEST(TokenFile, MoreThanFourBillionTokens) {
  const TestFolder folder;
  const std::string path = folder / "large.bin";
  constexpr int64_t kTokens = (int64_t{1} << 32) + 100;
  std::string header = read_file(write_small(folder), 1000).substr(0, 64);
  put<uint64_t>(header, 24, kTokens);
  folder.write("large.bin", header);
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_EQ(::ftruncate(descriptor, 64 + 2 * kTokens), 0) << "no sparse files here?";
  const std::array<uint16_t, 3> last = {41, 42, 299};
  ASSERT_EQ(::pwrite(descriptor, last.data(), sizeof(last), 64 + 2 * (kTokens - 3)), 6);
  ::close(descriptor);

  const TokenFile file = TokenFile::open(path);
  EXPECT_EQ(file.tokens(), kTokens);
  EXPECT_EQ(read_tokens(file, kTokens - 4, 4, 300), (std::vector<int32_t>{0, 41, 42, 299}));
  EXPECT_THAT(message_of(ExitCode::kData, [&] { read_tokens(file, kTokens - 4, 4, 299); }),
              HasSubstr("token 4294967395 has id 299"));
}

TEST(TokenFile, FingerprintTellsFilesApart) {
  const TestFolder folder;
  const std::string path = write_small(folder);
  const uint64_t fingerprint = TokenFile::open(path).fingerprint();
  EXPECT_EQ(TokenFile::open(write_small(folder, "copy.bin")).fingerprint(), fingerprint);
  const auto of = [&](int64_t vocabulary, const std::vector<std::vector<int32_t>>& documents) {
    TokenFileWriter writer(folder / "other.bin", vocabulary);
    for (const auto& document : documents) writer.add_document(document);
    writer.finish();
    return TokenFile::open(folder / "other.bin").fingerprint();
  };
  EXPECT_EQ(of(300, {{1, 299}, {0, 256, 255}}), fingerprint);
  EXPECT_NE(of(301, {{1, 299}, {0, 256, 255}}), fingerprint);
  EXPECT_NE(of(300, {{1}, {299, 0, 256, 255}}), fingerprint) << "other documents";
  EXPECT_NE(of(300, {{1, 299}, {0, 256, 254}}), fingerprint);
  EXPECT_NE(of(300, {{1, 299}, {0, 256}}), fingerprint);
}

TEST(TokenFile, FingerprintSeesTheMiddleOfAFile) {
  const TestFolder folder;
  std::vector<int32_t> ids(30'000, 1);
  const auto fingerprint = [&](int64_t changed) {
    TokenFileWriter writer(folder / "a.bin", 100);
    ids[static_cast<size_t>(changed)] = 2;
    writer.add_document(ids);
    ids[static_cast<size_t>(changed)] = 1;
    writer.finish();
    return TokenFile::open(folder / "a.bin").fingerprint();
  };
  EXPECT_NE(fingerprint(10'000), fingerprint(10'001));
  EXPECT_EQ(fingerprint(10'000), fingerprint(10'000));

  // Of a large one a part is read, its ends always.
  const auto large = [&](int64_t changed) {
    const std::string path = folder / "large.bin";  // nanoGPT's form
    folder.write("large.bin", "");
    std::filesystem::resize_file(path, size_t{100} << 20);
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    PCHECK(::pwrite(descriptor, "\1", 1, changed) == 1);
    ::close(descriptor);
    return TokenFile::open(path).fingerprint();
  };
  EXPECT_NE(large(0), large(2));
  EXPECT_NE(large((int64_t{100} << 20) - 2), large((int64_t{100} << 20) - 4));
  EXPECT_NE(large(0), large((int64_t{100} << 20) - 2));
}

}  // namespace
}  // namespace tsugi
