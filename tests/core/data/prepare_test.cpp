#include "core/data/prepare.h"

#include <gmock/gmock.h>

#include <cmath>
#include <numeric>
#include <set>

#include "core/data/file.h"
#include "core/data/json.h"
#include "core/data/token_file.h"
#include "core/data/tokenizer/tokenizer.h"
#include "tests/core/data/testing.h"
#include "tests/dist/thread_communicator.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using testing::TestFolder;

/// The documents of OUT/NAME, decoded.
std::vector<std::string> texts_of(const TestFolder& folder, const std::string& name) {
  const auto tokenizer = load_tokenizer(folder / "out/tokenizer.json");
  const TokenFile file = TokenFile::open(folder / ("out/" + name));
  EXPECT_EQ(file.vocabulary(), tokenizer->vocabulary());
  std::vector<std::string> texts;
  for (size_t i = 0; i < file.documents().size(); ++i) {
    const int64_t begin = file.documents()[i];
    const int64_t end = i + 1 < file.documents().size() ? file.documents()[i + 1] : file.tokens();
    std::vector<int32_t> ids(static_cast<size_t>(end - begin));
    file.read(begin, file.vocabulary(), ids);
    texts.push_back(tokenizer->decode(ids));
  }
  return texts;
}

std::string joined(const std::vector<std::string>& texts) {
  return std::accumulate(texts.begin(), texts.end(), std::string());
}

PrepareOptions options_of(const TestFolder& folder, const std::string& input) {
  PrepareOptions options;
  options.inputs = {folder / input};
  options.output = folder / "out";
  return options;
}

TEST(Prepare, CutsTheTailOfOneTextLikeNanoGpt) {
  // As many characters as tiny Shakespeare has, over 65 different ones; nanoGPT's shakespeare_char/prepare.py says
  // 1,003,854 training and 111,540 validation tokens.
  const TestFolder folder;
  std::string text;
  uint32_t state = 1;
  for (int i = 0; i < 1'115'394; ++i) {
    state = state * 1664525u + 1013904223u;
    text.push_back(static_cast<char>(i < 65 ? ' ' + i : ' ' + (state >> 16) % 65));
  }
  PrepareOptions options = options_of(folder, "input.txt");
  folder.write("input.txt", text);
  options.tokenizer = "characters";
  options.split = PrepareOptions::Split::kTail;
  const PrepareSummary summary = prepare_text(options);
  EXPECT_EQ(summary.vocabulary, 65);
  EXPECT_EQ(summary.train.tokens, 1'003'854);
  EXPECT_EQ(summary.validation.tokens, 111'540);
  EXPECT_EQ(summary.train.bytes, 1'003'854);
  EXPECT_EQ(summary.files, 1);
  EXPECT_EQ(texts_of(folder, "train.bin"), std::vector<std::string>{text.substr(0, 1'003'854)});
  EXPECT_EQ(texts_of(folder, "validation.bin"), std::vector<std::string>{text.substr(1'003'854)});
}

TEST(Prepare, ReadsFoldersInSortedOrder) {
  const TestFolder folder;
  folder.write("in/b.txt", "second é\n");
  folder.write("in/a/z.txt", "first\n");
  folder.write("in/c.txt", "third 世\n");
  folder.write("in/notes.md", "\xFF no text of ours");
  PrepareOptions options = options_of(folder, "in");
  options.tokenizer = "characters";
  options.split = PrepareOptions::Split::kTail;
  options.validation_fraction = 0.5;
  const PrepareSummary summary = prepare_text(options);
  const std::vector<std::string> train = texts_of(folder, "train.bin");
  const std::vector<std::string> validation = texts_of(folder, "validation.bin");
  EXPECT_EQ(joined(train) + joined(validation), "first\nsecond é\nthird 世\n");
  EXPECT_EQ(train.size(), 2u);
  EXPECT_EQ(train[1], "secon") << "11 of 23 characters";
  EXPECT_EQ(summary.train.bytes, 11);
  EXPECT_EQ(summary.validation.bytes, 15);
  EXPECT_EQ(summary.validation.tokens, 12);
  EXPECT_EQ(summary.files, 3);
  EXPECT_EQ(summary.train.documents, 2);
  EXPECT_EQ(summary.validation.documents, 2);
}

TEST(Prepare, SummaryIsWrittenToo) {
  const TestFolder folder;
  folder.write("in.txt", "abcdefghij");
  PrepareOptions options = options_of(folder, "in.txt");
  options.split = PrepareOptions::Split::kTail;
  const PrepareSummary summary = prepare_text(options);
  const JsonValue json = read_json(folder / "out/summary.json", 10'000);
  EXPECT_EQ(json.require_string("vocabulary"), "bytes");
  EXPECT_EQ(json.require_int("vocabulary_size"), 256);
  EXPECT_EQ(json.require_object("train").require_int("tokens"), summary.train.tokens);
  EXPECT_EQ(json.require_object("train").require_int("tokens"), 9);
  EXPECT_EQ(json.require_object("validation").require_int("bytes"), 1);
  const auto count = std::distance(std::filesystem::directory_iterator(folder / "out"), {});
  EXPECT_EQ(count, 6) << "train, validation, their documents, tokenizer, summary";
}

TEST(Prepare, FormFeedLinesSeparateDocuments) {
  const TestFolder folder;
  folder.write("in.txt", "\f\none\n\f\ntwo \f not\n\fnot\n\f\r\n\f\n\f\nthree\n\f");
  folder.write("val.txt", "v");
  PrepareOptions options = options_of(folder, "in.txt");
  options.validation_inputs = {folder / "val.txt"};
  options.separator = "\f";
  const PrepareSummary summary = prepare_text(options);
  EXPECT_THAT(texts_of(folder, "train.bin"), ::testing::ElementsAre("one\n", "two \f not\n\fnot\n", "three\n"));
  EXPECT_EQ(summary.empty_documents, 4);
  options.separator.clear();
  EXPECT_EQ(prepare_text(options).train.documents, 1);
}

TEST(Prepare, SplitsDocumentsByTheirTextAndRemovesDuplicates) {
  const TestFolder folder;
  std::string text;
  std::set<std::string> expected;
  for (int i = 0; i < 2000; ++i) {
    const std::string document = "document " + std::to_string(i % 1500) + "\n";
    expected.insert(document);
    text += document + "\f\n";
  }
  folder.write("in/a.txt", text);
  PrepareOptions options = options_of(folder, "in");
  options.separator = "\f";
  options.validation_fraction = 0.2;
  const PrepareSummary summary = prepare_text(options);
  EXPECT_EQ(summary.duplicates, 500);
  const std::vector<std::string> train = texts_of(folder, "train.bin");
  const std::vector<std::string> validation = texts_of(folder, "validation.bin");
  EXPECT_EQ(train.size() + validation.size(), 1500u);
  std::set<std::string> all(train.begin(), train.end());
  all.insert(validation.begin(), validation.end());
  EXPECT_EQ(all, expected) << "nothing lost, nothing on both sides";
  EXPECT_NEAR(static_cast<double>(validation.size()), 300.0, 6.0 * std::sqrt(1500 * 0.2 * 0.8));

  // More text elsewhere moves no document to the other side.
  folder.write("in/0.txt", "something new");
  prepare_text(options);
  std::vector<std::string> again = texts_of(folder, "validation.bin");
  std::erase(again, "something new");
  EXPECT_EQ(again, validation);
}

TEST(Prepare, WhatIsValidatedIsNotTrainedOn) {
  const TestFolder folder;
  folder.write("in/a.txt", "shared");
  folder.write("in/b.txt", "own");
  folder.write("val/x.txt", "shared");
  folder.write("val/y.txt", "ü");
  PrepareOptions options = options_of(folder, "in");
  options.validation_inputs = {folder / "val"};
  options.tokenizer = "characters";
  const PrepareSummary summary = prepare_text(options);
  EXPECT_THAT(texts_of(folder, "train.bin"), ::testing::ElementsAre("own"));
  EXPECT_THAT(texts_of(folder, "validation.bin"), ::testing::ElementsAre("shared", "ü"));
  EXPECT_EQ(summary.duplicates, 1);
  EXPECT_EQ(summary.vocabulary, 10) << "characters of both sides: a d e h n o r s w ü";

  options.inputs = options.validation_inputs;
  EXPECT_THAT(message_of(ExitCode::kData, [&] { prepare_text(options); }), HasSubstr("is for training"));
}

TEST(Prepare, RanksThatHelpChangeNoByte) {
  const TestFolder folder;
  std::string text;
  std::string lines;
  for (int i = 0; i < 300; ++i) {
    text += "document " + std::to_string(i % 250) + " ü\n\f\n";
    lines += "{\"text\": \"" + std::string(static_cast<size_t>(i % 40), 'x') + " " + std::to_string(i) + "\"}\n";
  }
  folder.write("in/a.txt", text);
  folder.write("in/b.jsonl", lines);
  folder.write("in/c.txt", std::string(5000, 'y') + "世\n");  // many blocks
  PrepareOptions options = options_of(folder, "in");
  options.separator = "\f";
  options.block_bytes = 100;
  options.shard_tokens = 900;
  options.threads = 1;
  for (const std::string tokenizer : {"characters", "bytes"}) {
    options.tokenizer = tokenizer;
    options.output = folder / "alone";
    const PrepareSummary alone = prepare_text(options);
    options.output = folder / "together";
    testing::run_ranks(3, [&](Communicator& communicator) {
      if (communicator.rank() > 0) return help_to_prepare(communicator, communicator.rank());
      PrepareOptions mine = options;
      mine.ranks = &communicator;
      const PrepareSummary together = prepare_text(mine);
      EXPECT_EQ(together.train.tokens, alone.train.tokens);
      EXPECT_EQ(together.longest.place, alone.longest.place);
    });
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "alone")) {
      const std::string name = entry.path().filename().string();
      EXPECT_EQ(read_file(folder / ("alone/" + name), 1 << 20), read_file(folder / ("together/" + name), 1 << 20))
          << tokenizer << ": " << name;
      ++files;
    }
    EXPECT_GT(files, 20);
  }
}

TEST(Prepare, WhatARankThatHelpsFindsIsTheErrorOfRank0) {
  const TestFolder folder;
  std::string text;
  for (int i = 0; i < 500; ++i) text += "fine\n\f\n";
  folder.write("in.txt", text + "\xFF\n" + text);
  PrepareOptions options = options_of(folder, "in.txt");
  options.separator = "\f";
  options.tokenizer = "characters";
  options.block_bytes = 50;
  options.threads = 1;
  const auto message = [&](Communicator* ranks) {
    options.ranks = ranks;
    return message_of(ExitCode::kData, [&] { prepare_text(options); });
  };
  const std::string alone = message(nullptr);
  EXPECT_THAT(alone, HasSubstr("in.txt: byte 3500: not valid UTF-8"));
  testing::run_ranks(2, [&](Communicator& communicator) {
    if (communicator.rank() > 0) return help_to_prepare(communicator, 3);
    EXPECT_EQ(message(&communicator), alone);
  });
}

TEST(Prepare, NamesFileAndByteOfInvalidUtf8) {
  const TestFolder folder;
  folder.write("in/a.txt", "good é\n");
  folder.write("in/b.txt", "x\n\f\ncaf\xE9 au lait");
  PrepareOptions options = options_of(folder, "in");
  options.split = PrepareOptions::Split::kTail;
  options.separator = "\f";
  options.tokenizer = "characters";
  EXPECT_THAT(message_of(ExitCode::kData, [&] { prepare_text(options); }),
              AllOf(HasSubstr(folder / "in/b.txt"), HasSubstr("byte 7: not valid UTF-8")));
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
  options.tokenizer = "bytes";
  EXPECT_EQ(prepare_text(options).train.tokens + prepare_text(options).validation.tokens, 8 + 2 + 12);
}

TEST(Prepare, EmptyAndMissingInputsAreErrors) {
  const TestFolder folder;
  folder.write("empty.txt", "");
  folder.write("folder/a.md", "x");
  folder.write("one/a.txt", "only document");
  const auto error = [&](ExitCode code, const std::string& input) {
    return message_of(code, [&] { prepare_text(options_of(folder, input)); });
  };
  EXPECT_THAT(error(ExitCode::kData, "empty.txt"), HasSubstr("there is no text"));
  EXPECT_THAT(error(ExitCode::kData, "folder"), HasSubstr("no .txt file"));
  EXPECT_THAT(error(ExitCode::kData, "one"), HasSubstr("none of the 1 different documents is for "));
  EXPECT_THAT(error(ExitCode::kInputOutput, "missing"), AllOf(HasSubstr("missing"), HasSubstr("No such file")));
  PrepareOptions options = options_of(folder, "one");
  for (const double fraction : {0.0, 1.0, -1.0, std::nan("")}) {
    options.validation_fraction = fraction;
    EXPECT_THAT(message_of(ExitCode::kUsage, [&] { prepare_text(options); }), HasSubstr("fraction"));
  }
}

}  // namespace
}  // namespace tsugi
