// Which tokens a checkpoint can go on with, and which tokenizer it has then.
#include "launch/training_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/data/file.h"
#include "core/data/tokenizer/tokenizer.h"
#include "ops/base/error.h"
#include "tests/core/checkpoint/checkpoint_testing.h"

namespace tsugi::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class TokenizerOfCheckpoint : public ::testing::Test {
 protected:
  /// A folder whose tokenizer has these characters; "-": none.
  std::string folder(const std::string& characters) {
    const std::string path = folder_.path() + "/" + characters;
    fs::create_directories(path);
    if (characters != "-") {
      write_file_durably(path + "/tokenizer.json", make_character_tokenizer(characters)->to_json());
    }
    return path;
  }
  std::string refusal(const std::string& checkpoint, const std::string& data, int64_t vocabulary) {
    try {
      require_tokenizer_of(folder(checkpoint), folder(data) + "/train.bin", vocabulary);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "";
  }

  TemporaryFolder folder_;
};

TEST_F(TokenizerOfCheckpoint, SharedIdsMustMeanTheSame) {
  EXPECT_EQ(refusal("abc", "abc", 3), "");
  EXPECT_EQ(refusal("abc", "abcd", 4), "");
  EXPECT_EQ(refusal("abcd", "abc", 3), "");
  EXPECT_THAT(refusal("abc", "abd", 3),
              AllOf(HasSubstr("abd/train.bin"), HasSubstr("abd/tokenizer.json"), HasSubstr("abc/tokenizer.json")));
  EXPECT_THAT(refusal("abc", "bcd", 3), HasSubstr("another tokenizer"));
}

TEST_F(TokenizerOfCheckpoint, ASizeAloneIsCompared) {
  EXPECT_EQ(refusal("abc", "-", 3), "");
  EXPECT_EQ(refusal("abc", "-", 0), "");
  EXPECT_EQ(refusal("-", "abc", 3), "");
  EXPECT_EQ(refusal("-", "-", 7), "");
  EXPECT_THAT(refusal("abc", "-", 4), AllOf(HasSubstr("vocabulary of 4"), HasSubstr("abc/tokenizer.json has 3 ids")));
}

TEST_F(TokenizerOfCheckpoint, NoIdIsForgotten) {
  const auto larger = [&](const std::string& checkpoint, const std::string& data) {
    return larger_tokenizer(folder(checkpoint), data == "-" ? "" : folder(data) + "/tokenizer.json");
  };
  EXPECT_EQ(larger("abc", "abcd"), folder("abcd") + "/tokenizer.json");
  EXPECT_EQ(larger("abcd", "abc"), folder("abcd") + "/tokenizer.json");
  EXPECT_EQ(larger("-", "abc"), folder("abc") + "/tokenizer.json");
  EXPECT_EQ(larger("abc", "-"), folder("abc") + "/tokenizer.json");
  EXPECT_EQ(larger("-", "-"), "");
}

}  // namespace
}  // namespace tsugi::testing
