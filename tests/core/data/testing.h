// Helpers of the data tests: folders that clean up after themselves, and the messages of errors.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/file.h"
#include "core/data/token_file.h"
#include "ops/base/error.h"

namespace tsugi::testing {

using namespace ::testing;  // inside of tsugi `testing` names both

/// An empty folder for one test.
class TestFolder {
 public:
  TestFolder() {
    std::string name = ::testing::TempDir() + "tsugi_data_XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  /// Writes a file, making its folder, and returns its path.
  std::string write(const std::string& name, std::string_view content) const {
    const std::filesystem::path path = *this / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }
  int64_t entries() const {
    return std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator());
  }

 private:
  std::string path_;
};

/// What the Error says that `action` throws; `code` must be its code.
template <class Action>
std::string message_of(ExitCode code, const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

inline std::string gzip(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

/// A tokenizer of tests/golden/.
inline std::string bpe_golden_path(const std::string& name) {
  return std::string(TSUGI_SOURCE_DIR) + "/tests/golden/tokenizer_bpe_" + name + ".json";
}

inline std::vector<int32_t> read_tokens(const TokenFile& file, int64_t offset, int64_t count,
                                        int64_t vocabulary = 100) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  file.read(offset, vocabulary, tokens);
  return tokens;
}

}  // namespace tsugi::testing
