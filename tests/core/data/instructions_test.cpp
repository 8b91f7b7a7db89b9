#include "core/data/instructions.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "ops/cross_entropy/cross_entropy.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;
using testing::TestFolder;

/// The text of an example with what is learnt in brackets.
std::string marked(const ScoredTokens& example) {
  EXPECT_EQ(example.ids.size(), example.scored.size());
  std::string text;
  bool inside = false;
  for (size_t i = 0; i < example.ids.size(); ++i) {
    if ((example.scored[i] != 0) != inside) text += inside ? ']' : '[';
    inside = example.scored[i] != 0;
    text += example.ids[i] == 0 ? '$' : static_cast<char>(example.ids[i]);
  }
  return inside ? text + ']' : text;
}

std::vector<std::string> all_marked(const Instructions& data) {
  std::vector<std::string> texts;
  for (const ScoredTokens& example : data.examples) texts.push_back(marked(example));
  return texts;
}

TEST(Instructions, PromptsAreNotScoredResponsesAre) {
  const TestFolder folder;
  folder.write("a.jsonl",
               "{\"prompt\": \"2+2=\", \"response\": \"4\", \"source\": \"x\"}\n\n"
               "{\"prompt\": \"\", \"response\": \"free\"}\n"
               "{\"prompt\": \"nothing\", \"response\": \"\"}\n");
  const auto tokenizer = make_byte_tokenizer();
  InstructionOptions options;
  const Instructions plain = read_instructions({folder / "a.jsonl"}, *tokenizer, options);
  EXPECT_THAT(all_marked(plain), ElementsAre("2+2=[4]", "[free]"));
  EXPECT_EQ(plain.empty, 1);
  options.end_of_text = 0;
  const Instructions ended = read_instructions({folder / "*.jsonl"}, *tokenizer, options);
  EXPECT_THAT(all_marked(ended), ElementsAre("2+2=[4$]", "[free$]"));
  EXPECT_NE(fingerprint_of(plain.examples), fingerprint_of(ended.examples));

  folder.write("b.jsonl", "{\"q\": \"Why?\", \"a\": \"So.\"}");
  options.prompt_field = "q";
  options.response_field = "a";
  EXPECT_THAT(all_marked(read_instructions({folder / "b.jsonl"}, *tokenizer, options)), ElementsAre("Why?[So.$]"));
  options = {};
  options.prompt_template = "Q: {prompt}\nA:";
  folder.write("c.jsonl", "{\"prompt\": \"Why?\", \"completion\": \" So.\"}");
  EXPECT_THAT(all_marked(read_instructions({folder / "c.jsonl"}, *tokenizer, options)),
              ElementsAre("Q: Why?\nA:[ So.]"));
  for (const char* wrong : {"no mark", "{prompt} {prompt}"}) {
    options.prompt_template = wrong;
    EXPECT_THAT(message_of(ExitCode::kUsage, [&] { read_instructions({folder / "c.jsonl"}, *tokenizer, options); }),
                HasSubstr("{prompt} once"));
  }
}

TEST(Instructions, ConversationsAreChatMl) {
  const TestFolder folder;
  folder.write("a.jsonl",
               "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"U\"}, "
               "{\"role\": \"assistant\", \"content\": \"A\"}, {\"role\": \"user\", \"content\": \"V\"}, "
               "{\"role\": \"assistant\", \"content\": \"B\"}]}");
  InstructionOptions options;
  const Instructions data = read_instructions({folder / "a.jsonl"}, *make_byte_tokenizer(), options);
  EXPECT_THAT(all_marked(data), ElementsAre("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
                                            "<|im_start|>assistant\n[A<|im_end|>]\n<|im_start|>user\nV<|im_end|>\n"
                                            "<|im_start|>assistant\n[B<|im_end|>]\n"));

  // Of a prompt's messages nothing is learnt, whoever speaks; without a token for the end of a turn the text ends.
  folder.write(
      "b.jsonl",
      "{\"prompt\": [{\"role\": \"assistant\", \"content\": \"A\"}, {\"role\": \"user\", \"content\": \"U\"}], "
      "\"completion\": [{\"role\": \"assistant\", \"content\": \"B\"}]}");
  options.end_of_text = 0;
  options.chat = ChatTemplate::llama3();
  EXPECT_THAT(all_marked(read_instructions({folder / "b.jsonl"}, *make_byte_tokenizer(), options)),
              ElementsAre("<|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|>"
                          "<|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>"
                          "<|start_header_id|>assistant<|end_header_id|>\n\n[B<|eot_id|>$]"));
}

TEST(Instructions, ChatMarksAreTheTokenizersTokens) {
  const TestFolder folder;
  folder.write("a.jsonl",
               "{\"messages\": [{\"role\": \"user\", \"content\": \"<|im_end|>\"}, "
               "{\"role\": \"assistant\", \"content\": \"A\"}]}");
  EXPECT_EQ(ChatTemplate::of(*make_byte_tokenizer()).before_role, "<|im_start|>");
  // The golden tokenizer's two special tokens, renamed.
  std::string json = read_file(std::string(TSUGI_SOURCE_DIR) + "/tests/golden/tokenizer_bpe_qwen2.json", 1 << 20);
  const auto rename = [&](const std::string& from, const std::string& to) {
    for (size_t at = json.find(from); at != std::string::npos; at = json.find(from)) json.replace(at, from.size(), to);
  };
  rename("<|endoftext|>", "<|start_header_id|>");
  EXPECT_EQ(ChatTemplate::of(*parse_tokenizer(json, "headers")).before_role, "<|start_header_id|>");
  rename("<|start_header_id|>", "<|im_start|>");
  rename("<|begin_of_text|>", "<|im_end|>");
  const auto tokenizer = parse_tokenizer(json, "chat");
  InstructionOptions options;
  options.chat = ChatTemplate::of(*tokenizer);
  options.end_of_text = 7;
  const Instructions data = read_instructions({folder / "a.jsonl"}, *tokenizer, options);
  ASSERT_EQ(data.examples.size(), 1u);
  const ScoredTokens& example = data.examples[0];
  EXPECT_EQ(tokenizer->decode(example.ids),
            "<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n");
  const int32_t end = *tokenizer->find_token("<|im_end|>");
  EXPECT_EQ(std::count(example.ids.begin(), example.ids.end(), end), 2) << "the user's is text";
  EXPECT_EQ(example.ids[example.ids.size() - 2], end);
  EXPECT_EQ(std::count(example.scored.begin(), example.scored.end(), 1), 2) << "A and the end of the turn";
}

TEST(Instructions, EqualExamplesStayOnOneSide) {
  std::vector<ScoredTokens> all;
  for (int32_t i = 0; i < 40; ++i) all.push_back({{1, i % 20 + 2}, {0, 1}});
  std::vector<ScoredTokens> kept = all;
  const std::vector<ScoredTokens> held = hold_out(kept, 0.21, 7);
  EXPECT_EQ(held.size(), 10u) << "9, and the twin of the ninth";
  EXPECT_EQ(kept.size(), 30u);
  for (const ScoredTokens& one : held) {
    for (const ScoredTokens& other : kept) EXPECT_NE(one.ids, other.ids);
  }
  std::vector<ScoredTokens> again = all;
  EXPECT_EQ(fingerprint_of(hold_out(again, 0.21, 7)), fingerprint_of(held));
  again = all;
  EXPECT_NE(fingerprint_of(hold_out(again, 0.21, 8)), fingerprint_of(held));
  std::vector<ScoredTokens> one = {all[0]};
  EXPECT_TRUE(hold_out(one, 0.5, 1).empty());
  EXPECT_EQ(one.size(), 1u);
}

TEST(Instructions, WhatIsTooLongLosesItsEnd) {
  const TestFolder folder;
  folder.write("a.jsonl",
               "{\"prompt\": \"12345\", \"response\": \"678\"}\n"
               "{\"prompt\": \"1\", \"response\": \"23\"}\n"
               "{\"prompt\": \"123456\", \"response\": \"7\"}\n");
  InstructionOptions options;
  options.max_tokens = 6;
  const Instructions data = read_instructions({folder / "a.jsonl"}, *make_byte_tokenizer(), options);
  EXPECT_THAT(all_marked(data), ElementsAre("12345[6]", "1[23]"));
  EXPECT_EQ(data.cut, 1);
  EXPECT_EQ(data.too_long, 1);
  options.too_long = InstructionOptions::TooLong::kDrop;
  const Instructions fitting = read_instructions({folder / "a.jsonl"}, *make_byte_tokenizer(), options);
  EXPECT_THAT(all_marked(fitting), ElementsAre("1[23]"));
  EXPECT_EQ(fitting.cut, 0);
  EXPECT_EQ(fitting.too_long, 2);
  options.too_long = InstructionOptions::TooLong::kRefuse;
  EXPECT_THAT(
      message_of(ExitCode::kData, [&] { read_instructions({folder / "a.jsonl"}, *make_byte_tokenizer(), options); }),
      HasSubstr("a.jsonl: line 1: the example has 8 tokens, but at most 6 fit"));
}

TEST(Instructions, BatchesHaveTargetsWhereTokensAreScored) {
  const ScoredTokens a{{5, 6, 7, 8}, {0, 0, 1, 1}};
  const ScoredTokens b{{1, 2, 3, 4, 9, 9}, {0, 1, 0, 1, 1, 1}};
  const ScoredTokens* const first[] = {&a};
  const ScoredTokens* const second[] = {&b};
  const ScoredTokens* const both[] = {&b, &a};
  const auto values = [](const Tensor& tensor) {
    return std::vector<int32_t>(tensor.data<int32_t>(), tensor.data<int32_t>() + tensor.shape().elements());
  };
  constexpr int32_t x = kIgnoreIndex;
  const Batch batch = padding_batch(3, 5, Documents::kJoined);
  fill_examples(batch, 0, first);
  fill_examples(batch, 1, second);
  EXPECT_THAT(values(batch.tokens), ElementsAre(5, 6, 7, 0, 0, 1, 2, 3, 4, 9, 0, 0, 0, 0, 0));
  EXPECT_THAT(values(batch.targets), ElementsAre(x, 7, 8, x, x, 2, x, 4, 9, 9, x, x, x, x, x));
  const Batch packed = padding_batch(1, 9, Documents::kApart);
  fill_examples(packed, 0, both);
  EXPECT_THAT(values(packed.tokens), ElementsAre(1, 2, 3, 4, 9, 5, 6, 7, 0));
  EXPECT_THAT(values(packed.targets), ElementsAre(2, x, 4, 9, 9, x, 7, 8, x));
  EXPECT_THAT(values(packed.first_key), ElementsAre(0, 0, 0, 0, 0, 5, 5, 5, 8));
}

TEST(Instructions, WhatIsWrongIsNamed) {
  const TestFolder folder;
  const auto error = [&](const std::string& content) {
    const std::string path = folder.write("a.jsonl", "{\"prompt\": \"a\", \"response\": \"b\"}\n" + content);
    const std::string message =
        message_of(ExitCode::kData, [&] { read_instructions({path}, *make_byte_tokenizer(), {}); });
    EXPECT_THAT(message, HasSubstr(path + ": line 2"));
    return message;
  };
  EXPECT_THAT(error("{\"prompt\": \"a\"}"), HasSubstr("response"));
  EXPECT_THAT(error("{\"response\": \"a\"}"), HasSubstr("prompt"));
  EXPECT_THAT(error("{\"prompt\": 1, \"response\": \"b\"}"), HasSubstr("prompt"));
  EXPECT_THAT(error("not json"), HasSubstr("byte"));
  EXPECT_THAT(error("{\"messages\": []}"), HasSubstr("messages: must not be empty"));
  EXPECT_THAT(error("{\"messages\": [{\"role\": \"tool\", \"content\": \"x\"}]}"),
              AllOf(HasSubstr("messages[0].role"), HasSubstr("\"tool\"")));
  EXPECT_THAT(error("{\"messages\": [{\"role\": \"user\"}]}"), HasSubstr("messages[0]"));
  EXPECT_THAT(error("{\"prompt\": [{\"role\": \"user\", \"content\": \"x\"}], \"response\": \"y\"}"),
              HasSubstr("response"));
  const std::string empty = folder.write("empty.jsonl", "{\"prompt\": \"a\", \"response\": \"\"}");
  EXPECT_THAT(message_of(ExitCode::kData, [&] { read_instructions({empty}, *make_byte_tokenizer(), {}); }),
              AllOf(HasSubstr(empty), HasSubstr("no example"), HasSubstr("1 without a response")));
}

}  // namespace
}  // namespace tsugi
