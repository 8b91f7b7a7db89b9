#include "core/data/file.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstring>
#include <filesystem>

#include "core/data/crc32c.h"
#include "core/data/folders.h"
#include "core/data/hash.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using testing::TestFolder;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(File, WrittenTextIsReadAndReplaced) {
  const TestFolder folder;
  const std::string path = folder / "a.txt";
  std::string text(200'000, 'x');
  text[100'000] = '\0';
  write_file_durably(path, text);
  EXPECT_EQ(read_file(path, 1'000'000), text);
  EXPECT_EQ(read_file(path, 200'000), text);
  write_file_durably(path, "short");
  EXPECT_EQ(read_file(path, 5), "short");
  write_file_durably(path, "");
  EXPECT_EQ(read_file(path, 0), "");
  EXPECT_EQ(folder.entries(), 1) << "temporary files stay behind";
}

TEST(File, LimitIsEnforced) {
  const TestFolder folder;
  const std::string path = folder.write("a.txt", "123456");
  EXPECT_THAT(message_of(ExitCode::kData, [&] { read_file(path, 5); }), AllOf(HasSubstr(path), HasSubstr("5 bytes")));
  // Its size is not known beforehand.
  EXPECT_THAT(message_of(ExitCode::kData, [] { read_file("/dev/zero", 1000); }), HasSubstr("1000 bytes"));
}

TEST(File, ErrorsNamePathAndReason) {
  const TestFolder folder;
  const std::string missing = folder / "missing/a.txt";
  const auto names_it = AllOf(HasSubstr(missing), HasSubstr("No such file or directory"));
  EXPECT_THAT(message_of(ExitCode::kInputOutput, [&] { read_file(missing, 10); }), names_it);
  EXPECT_THAT(message_of(ExitCode::kInputOutput, [&] { MappedFile map(missing); }), names_it);
  EXPECT_THAT(message_of(ExitCode::kInputOutput, [&] { write_file_durably(missing, "x"); }), names_it);
  EXPECT_THAT(message_of(ExitCode::kInputOutput, [&] { read_file(folder.path(), 10); }), HasSubstr("Is a directory"));
  EXPECT_THAT(message_of(ExitCode::kInputOutput, [&] { MappedFile map(folder.path()); }), HasSubstr("not a regular"));
}

TEST(File, FailedWriteLeavesTheOldContentAndNoTemporary) {
  const TestFolder folder;
  const std::string path = folder.write("a.txt", "old");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{4096, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message =
      message_of(ExitCode::kInputOutput, [&] { write_file_durably(path, std::string(10'000, 'n')); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, AllOf(HasSubstr(path), HasSubstr("File too large")));
  EXPECT_EQ(read_file(path, 100), "old");
  EXPECT_EQ(folder.entries(), 1);
}

TEST(File, WhatIsNoRegularFileIsNotReplaced) {
  const TestFolder folder;
  const std::string path = folder / "fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(message_of(ExitCode::kInputOutput, [&] { write_file_durably(path, "text"); }),
            "cannot write " + path + ": it is there, and not a regular file");
  EXPECT_TRUE(std::filesystem::is_fifo(path));
}

TEST(Folders, AreMadeOrNamedInTheError) {
  const TestFolder folder;
  const std::string deep = folder / "one/two";
  make_folders(deep);
  make_folders(deep + "/");
  EXPECT_TRUE(std::filesystem::is_directory(deep));
  const std::string file = folder / "file";
  write_file_durably(file, "text");
  for (const std::string& path : {file, file + "/below"}) {
    EXPECT_EQ(message_of(ExitCode::kInputOutput, [&] { make_folders(path); }),
              "cannot create folder " + path + ": Not a directory");
  }
  EXPECT_THAT(message_of(ExitCode::kUsage, [&] { make_folders(""); }), HasSubstr("empty"));
}

TEST(File, DurableFileAppearsOnlyWhenCommitted) {
  const TestFolder folder;
  const std::string path = folder / "a.bin";
  {
    DurableFile dropped(path);
    dropped.write(bytes_of("abc"));
  }
  EXPECT_EQ(folder.entries(), 0);
  DurableFile file(path);
  file.write(bytes_of("head"));
  file.write(bytes_of("tail"));
  file.overwrite(1, bytes_of("EA"));
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(file.size(), 8);
  file.commit();
  EXPECT_EQ(read_file(path, 100), "hEAdtail");
}

TEST(File, MapsContentAlsoWhenMoved) {
  const TestFolder folder;
  MappedFile first(folder.write("a", "content"));
  MappedFile second(std::move(first));
  EXPECT_TRUE(first.bytes().empty());  // NOLINT(bugprone-use-after-move)
  ASSERT_EQ(second.bytes().size(), 7u);
  EXPECT_EQ(std::memcmp(second.bytes().data(), "content", 7), 0);
  EXPECT_TRUE(MappedFile(folder.write("empty", "")).bytes().empty());
}

// RFC 3720, appendix B.4, and the check value of the CRC catalogue.
TEST(Checksum, Crc32cHasItsPublishedValues) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283u);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\0'))), 0x8A9136AAu);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\xFF'))), 0x62A8AB43u);
  EXPECT_EQ(crc32c({}), 0u);
  EXPECT_EQ(crc32c(bytes_of("56789"), crc32c(bytes_of("1234"))), 0xE3069283u);
}

// Values of the reference implementation's command, xxhsum -H1, and of its sanity check.
TEST(Hash, PiecesAreTheWhole) {
  std::string text(300, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
  for (size_t size = 0; size <= text.size(); size += size < 100 ? 1 : 50) {
    const std::string_view whole = std::string_view(text).substr(0, size);
    for (size_t piece = 1; piece < 70; ++piece) {
      Hash64 hash(5);
      for (size_t i = 0; i < size; i += piece) hash.update(bytes_of(whole.substr(i, piece)));
      ASSERT_EQ(hash.value(), hash64(bytes_of(whole), 5)) << size << " in " << piece;
    }
  }
}

TEST(Hash, Xxh64HasItsPublishedValues) {
  EXPECT_EQ(hash64({}), 0xEF46DB3751D8E999u);
  EXPECT_EQ(hash64(bytes_of("a")), 0xD24EC4F1A98C6E5Bu);
  EXPECT_EQ(hash64(bytes_of("abc")), 0x44BC2CF5AD770999u);
  EXPECT_EQ(hash64(bytes_of("Nobody inspects the spammish repetition")), 0xFBCEA83C8A378BF1u);
}

}  // namespace
}  // namespace tsugi
