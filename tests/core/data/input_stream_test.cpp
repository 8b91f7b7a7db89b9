#include "core/data/input_stream.h"

#include <gmock/gmock.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using testing::gzip;
using ::testing::HasSubstr;
using testing::message_of;
using testing::TestFolder;
using testing::zstd;

std::string pseudo_text(size_t size) {
  std::string text;
  uint32_t state = 1;
  while (text.size() < size) {
    state = state * 1664525u + 1013904223u;
    text += "word" + std::to_string(state >> 22) + (state % 7 == 0 ? "\n" : " ");
  }
  text.resize(size);
  return text;
}

std::string read_all(const std::string& path, size_t piece, int64_t skip = 0) {
  const auto stream = InputStream::open(path);
  stream->skip_to(skip);
  std::string text;
  std::string buffer(piece, '\0');
  for (;;) {
    const size_t got = stream->read(buffer);
    text.append(buffer, 0, got);
    if (got < piece) break;
  }
  EXPECT_EQ(stream->read(buffer), 0u);
  EXPECT_EQ(stream->consumed(), static_cast<int64_t>(std::filesystem::file_size(path)));
  return text;
}

TEST(InputStream, ReadsEveryFormInAnyPieces) {
  const TestFolder folder;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1000}, size_t{300'000}}) {
    const std::string text = pseudo_text(size);
    // Members and frames of any number, and with nothing in them.
    const std::string head = text.substr(0, size / 3);
    const std::string tail = text.substr(size / 3);
    folder.write("a", text);
    folder.write("a.gz", gzip(text));
    folder.write("b.gz", gzip(head) + gzip("") + gzip(tail));
    folder.write("a.zst", zstd(text));
    folder.write("b.zst", zstd(head) + std::string("\x50\x2A\x4D\x18\x03\0\0\0xyz", 11) + zstd(tail));
    for (const char* name : {"a", "a.gz", "b.gz", "a.zst", "b.zst"}) {
      for (const size_t piece : {size_t{7}, size_t{4096}, size_t{1'000'000}}) {
        if (piece == 7 && size > 1000) continue;
        EXPECT_EQ(read_all(folder / name, piece), text) << name << " in pieces of " << piece;
        if (size > 10) {
          EXPECT_EQ(read_all(folder / name, piece, 10), text.substr(10)) << name;
        }
      }
    }
  }
}

TEST(InputStream, HighlyCompressedDataComesInPieces) {
  const TestFolder folder;
  const std::string zeros(20'000'000, '\0');
  folder.write("z.gz", gzip(zeros));
  folder.write("z.zst", zstd(zeros));
  EXPECT_EQ(read_all(folder / "z.gz", 100'000), zeros);
  EXPECT_EQ(read_all(folder / "z.zst", 100'000), zeros);
}

TEST(InputStream, TruncatedAndDamagedDataIsAnError) {
  const TestFolder folder;
  const std::string text = pseudo_text(100'000);
  const auto error = [&](const std::string& name, const std::string& bytes) {
    const std::string path = folder.write(name, bytes);
    const std::string message = message_of(ExitCode::kData, [&] { read_all(path, 5000); });
    EXPECT_THAT(message, HasSubstr(path));
    return message;
  };
  const std::string packed = gzip(text);
  const std::string frame = zstd(text);
  for (const size_t cut : {size_t{1}, size_t{4}, size_t{8}, size_t{9}, packed.size() / 2, packed.size() - 3}) {
    EXPECT_THAT(error("t.gz", packed.substr(0, packed.size() - cut)), HasSubstr("truncated"));
  }
  for (const size_t cut : {size_t{1}, frame.size() / 2, frame.size() - 5}) {
    EXPECT_THAT(error("t.zst", frame.substr(0, frame.size() - cut)), HasSubstr("truncated"));
  }
  EXPECT_THAT(error("e.gz", ""), HasSubstr("truncated"));
  EXPECT_THAT(error("e.zst", ""), HasSubstr("truncated"));
  EXPECT_THAT(error("p.gz", text), HasSubstr("not valid gzip data"));
  EXPECT_THAT(error("p.zst", text), HasSubstr("not valid zstd data"));
  EXPECT_THAT(error("g.gz", packed + "garbage"), HasSubstr("not valid gzip data"));
  std::string flipped = packed;
  flipped[flipped.size() - 6] ^= 1;  // the checksum
  EXPECT_THAT(error("c.gz", flipped), HasSubstr("not valid gzip data"));
  std::string middle = frame;
  for (size_t i = frame.size() / 2; i < frame.size() / 2 + 64; ++i) middle[i] = 0;
  EXPECT_THAT(error("m.zst", middle), ::testing::AnyOf(HasSubstr("not valid zstd data"), HasSubstr("truncated")));
  EXPECT_THAT(message_of(ExitCode::kInputOutput, [&] { InputStream::open(folder / "none.gz"); }), HasSubstr("none.gz"));
  EXPECT_THAT(message_of(ExitCode::kInputOutput, [&] { InputStream::open(folder.path()); }),
              HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace tsugi
