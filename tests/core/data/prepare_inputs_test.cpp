// prepare on JSON lines, compressed files, patterns, shards, large documents; that interruptions and threads change
// nothing; and on input that is wrong.
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <zlib.h>
#include <zstd.h>

#include <csignal>
#include <map>
#include <nlohmann/json.hpp>

#include "core/data/json.h"
#include "core/data/prepare.h"
#include "core/data/token_file.h"
#include "core/data/token_shards.h"
#include "core/data/tokenizer/tokenizer.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::gzip;
using ::testing::HasSubstr;
using testing::message_of;
using testing::TestFolder;
using testing::zstd;

std::vector<std::string> documents_of(const std::string& folder, const std::string& name) {
  const auto tokenizer = load_tokenizer(folder + "/tokenizer.json");
  const TokenFile file = TokenFile::open(folder + "/" + name);
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

/// Every file below a folder.
std::map<std::string, std::string> contents(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      files[std::filesystem::relative(entry.path(), folder).string()] = read_file(entry.path().string(), 1 << 28);
    }
  }
  return files;
}

std::string line(const std::string& text, const std::string& field = "text") {
  return nlohmann::json{{"id", 7}, {field, text}}.dump() + "\n";
}

PrepareOptions options_for(const TestFolder& folder, const std::string& input) {
  PrepareOptions options;
  options.inputs = {folder / input};
  options.output = folder / "out";
  options.validation_inputs = {folder.write("v.txt", "for validation")};
  options.threads = 2;
  return options;
}

TEST(PrepareInputs, JsonLinesTextAndTheirCompressedForms) {
  const TestFolder folder;
  const std::string lines = line("one \u00e9\n two") + "\n  \r\n" + line("") + line("three");
  folder.write("in/a.jsonl", lines);
  folder.write("in/b.jsonl.gz", gzip(line("four") + "{\"text\": \"no end of line\"}"));
  folder.write("in/c.ndjson.zst", zstd(line("f\tive")));
  folder.write("in/d.txt.gz", gzip("six\n\f\nseven"));
  folder.write("in/e.txt.zst", zstd("eight"));
  folder.write("in/f.txt", "nine");
  folder.write("in/g.json", "no input");
  PrepareOptions options = options_for(folder, "in");
  options.separator = "\f";
  const PrepareSummary summary = prepare_text(options);
  EXPECT_THAT(
      documents_of(folder / "out", "train.bin"),
      ElementsAre("one \u00e9\n two", "three", "four", "no end of line", "f\tive", "six\n", "seven", "eight", "nine"));
  EXPECT_EQ(summary.files, 7);
  EXPECT_EQ(summary.empty_documents, 1);
  EXPECT_EQ(summary.longest.tokens, 14);
  EXPECT_EQ(summary.longest.bytes, 14);
  EXPECT_FALSE(std::filesystem::exists(folder / "out/.work"));

  options.inputs = {folder / "in/f.txt", folder / "in/?.jsonl*"};
  prepare_text(options);
  EXPECT_THAT(documents_of(folder / "out", "train.bin"),
              ElementsAre("nine", "one \u00e9\n two", "three", "four", "no end of line"));
  options.format = PrepareOptions::Format::kText;
  prepare_text(options);
  EXPECT_EQ(documents_of(folder / "out", "train.bin")[1], lines);
}

TEST(PrepareInputs, AnotherFieldAndASeparatorOfSeveralCharacters) {
  const TestFolder folder;
  folder.write("a.jsonl", line("from content", "content"));
  PrepareOptions options = options_for(folder, "a.jsonl");
  options.field = "content";
  prepare_text(options);
  EXPECT_THAT(documents_of(folder / "out", "train.bin"), ElementsAre("from content"));

  const std::string mark = "<|endoftext|>";
  folder.write("b.txt",
               "once\n" + mark + "\ntwo " + mark + "\n" + mark + "x\nx" + mark + "\n" + mark + "\r\nthree\n" + mark);
  for (const int64_t block : {1, 2, 3, 5, 8, 13, 14, 15, 16, 30, 1000}) {
    options = options_for(folder, "b.txt");
    options.separator = mark;
    options.block_bytes = block;
    EXPECT_EQ(prepare_text(options).empty_documents, 1);
    EXPECT_THAT(documents_of(folder / "out", "train.bin"),
                ElementsAre("once\n", "two " + mark + "\n" + mark + "x\nx" + mark + "\n", "three\n"))
        << block;
  }
}

TEST(PrepareInputs, EndOfTextFollowsEveryDocument) {
  const TestFolder folder;
  folder.write("a.jsonl", line("ab") + line("c") + line("ab"));
  PrepareOptions options = options_for(folder, "a.jsonl");
  options.end_of_text = "|";
  for (const auto split : {PrepareOptions::Split::kDocuments, PrepareOptions::Split::kTail}) {
    options.split = split;
    const PrepareSummary summary = prepare_text(options);
    EXPECT_THAT(documents_of(folder / "out", "train.bin"), ElementsAre("ab|", "c|"));
    EXPECT_EQ(summary.train.tokens, 5);
    EXPECT_EQ(summary.train.bytes, 3) << "of text";
  }
  options.end_of_text = "<|endoftext|>";
  EXPECT_THAT(message_of(ExitCode::kUsage, [&] { prepare_text(options); }),
              AllOf(HasSubstr("<|endoftext|>"), HasSubstr("is not one token")));
}

TEST(PrepareInputs, TextThatLooksLikeASpecialTokenIsText) {
  const TestFolder folder;
  folder.write("a.jsonl", line("say <|endoftext|> twice") + line("and again <|endoftext|>"));
  PrepareOptions options = options_for(folder, "a.jsonl");
  options.tokenizer = std::string(TSUGI_SOURCE_DIR) + "/tests/golden/tokenizer_bpe_llama3.json";
  options.end_of_text = kUsualEndOfText;
  const PrepareSummary summary = prepare_text(options);
  const TokenFile file = TokenFile::open(folder / "out" + "/train.bin");
  std::vector<int32_t> ids(static_cast<size_t>(file.tokens()));
  file.read(0, file.vocabulary(), ids);
  const auto tokenizer = load_tokenizer(options.tokenizer);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer->end_of_text().value()), 2)
      << "one for each document, none for what stands in them";
  EXPECT_EQ(tokenizer->decode(ids), "say <|endoftext|> twice<|endoftext|>and again <|endoftext|><|endoftext|>");
  EXPECT_EQ(summary.train.documents, 2);
}

/// Documents of many sizes, some of them twice, in files of every form.
void write_corpus(const TestFolder& folder) {
  uint32_t state = 5;
  const auto random = [&state] { return (state = state * 1664525u + 1013904223u) >> 8; };
  const auto document = [&](size_t words) {
    std::string text;
    for (size_t i = 0; i < words; ++i)
      text += (random() % 9 == 0 ? "wört\n" : "word ") + std::to_string(random() % 500);
    return text + "\n";
  };
  std::string lines;
  std::string text;
  std::vector<std::string> known;
  for (int i = 0; i < 400; ++i) {
    std::string one = i % 7 == 3 ? known[random() % known.size()] : document(random() % 60);
    known.push_back(one);
    (i % 2 == 0 ? lines : text) += i % 2 == 0 ? line(one) : one + "\f\n";
  }
  folder.write("in/a.jsonl", lines);
  folder.write("in/b.txt", text);
  folder.write("in/c.jsonl.gz", gzip(lines + line(document(3000))));
  folder.write("in/d.txt.zst", zstd(document(5000)));  // one document of many blocks
  for (int i = 0; i < 50; ++i) folder.write("in/e/" + std::to_string(i) + ".txt", document(1 + random() % 5));
  folder.write("in/f.txt", text + document(100));
}

PrepareOptions corpus_options(const TestFolder& folder, const std::string& out) {
  PrepareOptions options;
  options.inputs = {folder / "in"};
  options.output = folder / out;
  options.separator = "\f";
  options.validation_fraction = 0.2;
  options.threads = 1;
  return options;
}

TEST(PrepareInputs, TheResultDoesNotDependOnThreadsBlocksOrMemory) {
  const TestFolder folder;
  write_corpus(folder);
  for (const std::string tokenizer : {"bytes", "characters"}) {
    for (const auto split : {PrepareOptions::Split::kDocuments, PrepareOptions::Split::kTail}) {
      for (const int64_t shard_tokens : {0, 9000}) {
        PrepareOptions options = corpus_options(folder, "one");
        options.tokenizer = tokenizer;
        options.split = split;
        options.shard_tokens = shard_tokens;
        const PrepareSummary summary = prepare_text(options);
        EXPECT_GT(summary.duplicates, 100);
        const auto expected = contents(folder / "one");
        int other = 0;
        for (const int threads : {1, 3}) {
          for (const int64_t block : {300, 20'000}) {
            if (++other % 2 == 0) options.duplicate_memory = 1000;  // a few rounds
            options.threads = threads;
            options.block_bytes = block;
            options.sync_blocks = 100;
            options.output = folder / "other";
            prepare_text(options);
            ASSERT_TRUE(contents(folder / "other") == expected) << tokenizer << " " << threads << " " << block;
          }
        }
      }
    }
  }
}

TEST(PrepareInputs, ShardsAreWholeDocumentsOfAtMostSoManyTokens) {
  const TestFolder folder;
  write_corpus(folder);
  PrepareOptions options = corpus_options(folder, "one");
  const PrepareSummary summary = prepare_text(options);
  options.output = folder / "many";
  options.shard_tokens = 9000;
  prepare_text(options);
  for (const std::string side : {"train", "validation"}) {
    const ShardIndex index = read_shard_index(folder / ("many/" + side + ".index.json"));
    EXPECT_NO_THROW(verify_shards(index));
    EXPECT_GT(index.shards.size(), side == "train" ? 5u : 0u);
    for (const ShardIndex::Shard& shard : index.shards) EXPECT_TRUE(shard.tokens <= 9000 || shard.documents == 1);
    EXPECT_EQ(documents_of(folder / "many", side + ".index.json"), documents_of(folder / "one", side + ".bin"));
  }
  EXPECT_EQ(read_shard_index(folder / "many/train.index.json").tokens, summary.train.tokens);

  // The other layout in the same folder leaves nothing of this one.
  options.shard_tokens = 0;
  prepare_text(options);
  EXPECT_EQ(contents(folder / "many"), contents(folder / "one"));
}

/// Runs prepare in a process that kills itself at block `at` of both passes together; true when it came to its end.
bool prepare_until(PrepareOptions options, int at) {
  const pid_t child = ::fork();
  if (child == 0) {
    int blocks = 0;
    options.on_progress = [&](const PrepareProgress&) {
      if (blocks++ == at) ::raise(SIGKILL);
    };
    prepare_text(options);
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(PrepareInputs, GoesOnAfterKillAndTheResultIsTheSame) {
  const TestFolder folder;
  write_corpus(folder);
  for (const int64_t shard_tokens : {0, 9000}) {
    PrepareOptions options = corpus_options(folder, "undisturbed");
    options.block_bytes = 2000;
    options.shard_tokens = shard_tokens;
    int64_t blocks = 0;
    options.on_progress = [&](const PrepareProgress& progress) { blocks += progress.encoding ? 1 : 0; };
    prepare_text(options);
    const auto expected = contents(folder / "undisturbed");
    ASSERT_GT(blocks, 100);

    options.sync_blocks = 7;
    options.output = folder / "killed";
    for (const int threads : {1, 3}) {
      options.threads = threads;
      std::filesystem::remove_all(options.output);
      // Killed in the first pass, and then again and again some 20 blocks further.
      EXPECT_FALSE(prepare_until(options, static_cast<int>(blocks / 2)));
      int lives = 0;
      while (!prepare_until(options, static_cast<int>(lives == 0 ? blocks + 20 : 20)) && lives < 1000) {
        ++lives;
        // Work files are verified: a changed one is not used, and its side is made again.
        if (lives == 3 && shard_tokens == 0) {
          std::string bytes = read_file(folder / "killed/.work/train.bin.partial", 1 << 26);
          bytes[bytes.size() / 3] ^= 1;
          folder.write("killed/.work/train.bin.partial", bytes);
          options.sync_blocks = 1;
        }
      }
      EXPECT_GE(lives, 3) << "of " << blocks << " blocks";
      if (lives >= 1000) ADD_FAILURE() << "it never comes to an end";
      EXPECT_TRUE(contents(folder / "killed") == expected) << shard_tokens << " " << threads;
      options.sync_blocks = 7;
    }
  }
}

TEST(PrepareInputs, OtherInputOrOptionsBeginAnew) {
  const TestFolder folder;
  write_corpus(folder);
  PrepareOptions options = corpus_options(folder, "out");
  options.block_bytes = 2000;
  options.sync_blocks = 1;
  EXPECT_FALSE(prepare_until(options, 150));
  EXPECT_TRUE(std::filesystem::exists(folder / "out/.work/scan.json"));
  folder.write("in/e/0.txt", "another text");
  options.validation_fraction = 0.3;
  prepare_text(options);
  const auto found = contents(folder / "out");
  options.output = folder / "fresh";
  prepare_text(options);
  EXPECT_TRUE(found == contents(folder / "fresh"));
}

TEST(PrepareInputs, AFileThatChangesMeanwhileIsAnError) {
  const TestFolder folder;
  write_corpus(folder);
  PrepareOptions options = corpus_options(folder, "out");
  options.block_bytes = 2000;
  const std::string before = read_file(folder / "in/b.txt", 1 << 20);
  std::string after = before;
  after[after.size() / 2] = after[after.size() / 2] == 'w' ? 'x' : 'w';
  bool changed = false;
  options.on_progress = [&](const PrepareProgress& progress) {
    if (progress.encoding && !changed) folder.write("in/b.txt", after);
    changed = progress.encoding;
  };
  EXPECT_THAT(message_of(ExitCode::kData, [&] { prepare_text(options); }),
              AllOf(HasSubstr(folder / "in/b.txt"), HasSubstr("changed while it was read")));
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
}

TEST(PrepareInputs, OneProcessPerFolder) {
  const TestFolder folder;
  write_corpus(folder);
  PrepareOptions options = corpus_options(folder, "out");
  std::string second;
  options.on_progress = [&](const PrepareProgress&) {
    if (second.empty()) {
      second = message_of(ExitCode::kUsage, [&] { prepare_text(corpus_options(folder, "out")); });
    }
  };
  prepare_text(options);
  EXPECT_THAT(second, HasSubstr("another process is preparing"));
}

TEST(PrepareInputs, WhatIsWrongIsNamed) {
  const TestFolder folder;
  const auto error = [&](const std::string& name, const std::string& content, ExitCode code = ExitCode::kData) {
    const std::string path = folder.write(name, content);
    PrepareOptions options = options_for(folder, name);
    options.max_document_bytes = 1000;
    options.block_bytes = 64;
    const std::string message = message_of(code, [&] { prepare_text(options); });
    EXPECT_THAT(message, HasSubstr(path));
    EXPECT_FALSE(std::filesystem::exists(folder / "out")) << "nothing is left";
    return message;
  };
  const std::string good = line("good") + "\n" + line("better");
  EXPECT_THAT(error("a.jsonl", good + "{\"text\": 3}\n"), AllOf(HasSubstr("line 4"), HasSubstr("text: must be")));
  EXPECT_THAT(error("a.jsonl", good + "{\"body\": \"x\"}\n"), AllOf(HasSubstr("line 4"), HasSubstr("text")));
  EXPECT_THAT(error("a.jsonl", good + "{\"text\": \"x\"\n"), HasSubstr("line 4: byte"));
  EXPECT_THAT(error("a.jsonl", good + "[1]\n"), HasSubstr("line 4"));
  EXPECT_THAT(error("a.jsonl", good + "{\"text\": \"\xff\"}\n"), HasSubstr("line 4"));
  EXPECT_THAT(error("a.jsonl", good + line(std::string(2000, 'x'))), HasSubstr("line 4: longer than 1000 bytes"));
  EXPECT_THAT(error("a.jsonl", good + std::string(200, '[') + "\n"), AllOf(HasSubstr("line 4"), HasSubstr("nested")));
  EXPECT_THAT(error("empty.jsonl", "\n\n"), HasSubstr("none of the 1 different documents is for training"));
  const std::string packed = gzip(good);
  EXPECT_THAT(error("a.jsonl.gz", packed.substr(0, packed.size() - 4)), HasSubstr("truncated"));
  EXPECT_THAT(error("a.txt.zst", "no zstd"), HasSubstr("not valid zstd data"));

  PrepareOptions options = options_for(folder, "none-*.txt");
  EXPECT_THAT(message_of(ExitCode::kData, [&] { prepare_text(options); }), HasSubstr("no file matches"));
  options.inputs.clear();
  EXPECT_THAT(message_of(ExitCode::kUsage, [&] { prepare_text(options); }), HasSubstr("no input"));
  options = options_for(folder, "v.txt");
  options.tokenizer = folder / "no tokenizer";
  EXPECT_THAT(message_of(ExitCode::kInputOutput, [&] { prepare_text(options); }), HasSubstr("no tokenizer"));
  options = options_for(folder, "v.txt");
  options.separator = "a\nb";
  EXPECT_THAT(message_of(ExitCode::kUsage, [&] { prepare_text(options); }), HasSubstr("one line"));
}

TEST(PrepareInputs, ATokenizerFileLimitsDocumentsBytesDoNot) {
  const TestFolder folder;
  const std::string text(100'000, 'x');
  folder.write("long.txt", text);
  folder.write("tokenizer/tokenizer.json", make_character_tokenizer("x for validation")->to_json());
  PrepareOptions options = options_for(folder, "long.txt");
  options.max_document_bytes = 50'000;
  options.block_bytes = 1000;
  prepare_text(options);
  EXPECT_THAT(documents_of(folder / "out", "train.bin"), ElementsAre(text));
  options.tokenizer = folder / "tokenizer";
  EXPECT_THAT(message_of(ExitCode::kData, [&] { prepare_text(options); }),
              AllOf(HasSubstr("long.txt"), HasSubstr("document at byte 0: longer than 50000 bytes")));
  options.max_document_bytes = 100'000;
  prepare_text(options);
  EXPECT_THAT(documents_of(folder / "out", "train.bin"), ElementsAre(text));
  EXPECT_EQ(TokenFile::open(folder / "out/train.bin").vocabulary(), 12);
}

}  // namespace
}  // namespace tsugi
