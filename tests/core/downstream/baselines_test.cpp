#include "core/downstream/baselines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/data/json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(NgramBayes, EqualsScikitLearn) {
  const JsonValue golden = read_json(std::string(TSUGI_SOURCE_DIR) + "/tests/golden/naive_bayes.json", 1 << 20);
  std::vector<LabelledText> train;
  for (const JsonValue& example : golden.require_array("train").elements()) {
    train.push_back({example.require_string("text"), static_cast<int>(example.require_int("label"))});
  }
  const NgramBayes model(train, 3);
  EXPECT_EQ(model.ngrams(), golden.require_int("ngrams"));
  for (const JsonValue& example : golden.require_array("test").elements()) {
    const std::string text = example.require_string("text");
    const std::vector<double> log_joint = model.log_joint(text);
    size_t best = 0;
    ASSERT_EQ(log_joint.size(), 3u);
    for (size_t label = 0; label < 3; ++label) {
      const double expected = example.require_array("log_joint").at(static_cast<int64_t>(label)).as_double();
      EXPECT_NEAR(log_joint[label], expected, 1e-11 * std::abs(expected)) << text << ", class " << label;
      if (log_joint[label] > log_joint[best]) best = label;
    }
    EXPECT_EQ(model.predict(text), static_cast<int>(best)) << text;
  }
}

TEST(NgramBayes, TellsLengthsAndZeroBytesApart) {
  const std::string zeros(4, '\0');
  const NgramBayes model(std::vector<LabelledText>{{zeros, 0}}, 1);
  EXPECT_EQ(model.ngrams(), 4);
}

TEST(NgramBayes, NeverPredictsAClassWithoutExamples) {
  const NgramBayes model(std::vector<LabelledText>{{"a", 0}, {"b", 2}}, 3);
  EXPECT_EQ(model.log_joint("b")[1], -INFINITY);
  EXPECT_EQ(model.predict("b"), 2);
  // Nothing tells the classes apart: the smallest.
  EXPECT_EQ(model.predict("zzz"), 0);
}

TEST(Baselines, MajorityAndAccuracy) {
  const std::vector<LabelledText> examples = {{"a", 2}, {"b", 1}, {"c", 2}, {"d", 1}, {"e", 0}};
  EXPECT_EQ(majority_label(examples), 1);
  EXPECT_DOUBLE_EQ(accuracy(std::vector<int>{2, 2, 2, 1, 1}, examples), 0.6);
}

TEST(Baselines, AccuracyOnOtherTexts) {
  const std::vector<LabelledText> train = {{"aaaa", 0}, {"aab", 0}, {"bbbb", 1}};
  const std::vector<LabelledText> validation = {{"aa", 0}, {"bb", 1}, {"bbb", 1}, {"aba", 0}};
  EXPECT_DOUBLE_EQ(majority_accuracy(train, validation), 0.5);
  EXPECT_DOUBLE_EQ(ngram_accuracy(train, validation, 2), 1.0);
}

class LabelledJsonl : public ::testing::Test {
 protected:
  LabelledJsonl()
      : path_(std::filesystem::path(::testing::TempDir()) /
              (std::string("tsugi_") + ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".jsonl")) {}
  ~LabelledJsonl() override { std::filesystem::remove(path_); }

  /// Collects the labels if there are none.
  std::vector<LabelledText> read(const std::string& content, std::vector<std::string>& labels) {
    std::ofstream(path_) << content;
    return read_labelled_jsonl(path_, labels, labels.empty());
  }
  /// The message of the Error(kData) that reading throws.
  std::string error(const std::string& content, std::vector<std::string> labels = {}) {
    try {
      read(content, labels);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "no error";
  }

  std::string path_;
};

TEST_F(LabelledJsonl, ReadsExamples) {
  std::vector<std::string> labels;
  const auto examples = read(
      "{\"text\": \"two\\nlines\", \"label\": \"b\", \"source\": 7}\r\n\n"
      "{\"label\": \"a\", \"text\": \"\"}\n{\"text\": \"x\", \"label\": 10}",
      labels);
  EXPECT_THAT(labels, ElementsAre("10", "a", "b"));
  ASSERT_EQ(examples.size(), 3u);
  EXPECT_EQ(examples[0].text, "two\nlines");
  EXPECT_EQ(examples[0].label, 2);
  EXPECT_EQ(examples[1].text, "");
  EXPECT_EQ(examples[1].label, 1);
  EXPECT_EQ(examples[2].label, 0);
}

TEST_F(LabelledJsonl, KeepsTheOrderOfGivenLabels) {
  std::vector<std::string> labels = {"z", "a"};
  EXPECT_EQ(read("{\"text\": \"t\", \"label\": \"a\"}\n", labels).at(0).label, 1);
  EXPECT_THAT(labels, ElementsAre("z", "a"));
}

TEST_F(LabelledJsonl, NamesFileLineAndReason) {
  const std::string good = "{\"text\": \"t\", \"label\": \"a\"}\n";
  EXPECT_THAT(error(good + "{\"text\": \"t\"}\n"), ::testing::AllOf(HasSubstr(path_ + ":2"), HasSubstr("label")));
  EXPECT_THAT(error(good + "\n{\"text\": 3, \"label\": \"a\"}"),
              ::testing::AllOf(HasSubstr(path_ + ":3"), HasSubstr("text")));
  EXPECT_THAT(error(good + good + "{\"text\": \"t\", \"label\""), HasSubstr(path_ + ":3"));
  EXPECT_THAT(error("{\"text\": \"t\", \"label\": 1.5}"), HasSubstr(path_ + ":1"));
  EXPECT_THAT(error("\n" + good, {"b", "c"}), ::testing::AllOf(HasSubstr(path_ + ":2"), HasSubstr("\"a\"")));
  EXPECT_THAT(error("\n\n"), ::testing::AllOf(HasSubstr(path_), HasSubstr("no examples")));
  std::vector<std::string> labels;
  EXPECT_THROW(read_labelled_jsonl(path_ + ".absent", labels, true), Error);
}

}  // namespace
}  // namespace tsugi
