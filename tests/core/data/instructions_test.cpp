#include "core/data/instructions.h"

#include <gmock/gmock.h>

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
  EXPECT_EQ(plain.dropped, 1);
  options.end_of_text = 0;
  const Instructions ended = read_instructions({folder / "*.jsonl"}, *tokenizer, options);
  EXPECT_THAT(all_marked(ended), ElementsAre("2+2=[4$]", "[free$]"));
  EXPECT_NE(plain.fingerprint, ended.fingerprint);

  folder.write("b.jsonl", "{\"q\": \"Why?\", \"a\": \"So.\"}");
  options.prompt_field = "q";
  options.response_field = "a";
  EXPECT_THAT(all_marked(read_instructions({folder / "b.jsonl"}, *tokenizer, options)), ElementsAre("Why?[So.$]"));
}

TEST(Instructions, ConversationsAreChatMl) {
  const TestFolder folder;
  folder.write("a.jsonl",
               "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"U\"}, "
               "{\"role\": \"assistant\", \"content\": \"A\"}, {\"role\": \"user\", \"content\": \"V\"}, "
               "{\"role\": \"assistant\", \"content\": \"B\"}]}");
  const Instructions data = read_instructions({folder / "a.jsonl"}, *make_byte_tokenizer(), {});
  EXPECT_THAT(all_marked(data),
              ElementsAre("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
                          "<|im_start|>assistant\n[A<|im_end|>]\n<|im_start|>user\nV<|im_end|>\n"
                          "<|im_start|>assistant\n[B<|im_end|>]\n"));
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
  EXPECT_EQ(data.truncated, 1);
  EXPECT_EQ(data.dropped, 1);
}

TEST(Instructions, BatchesHaveTargetsWhereTokensAreScored) {
  const ScoredTokens a{{5, 6, 7, 8}, {0, 0, 1, 1}};
  const ScoredTokens b{{1, 2, 3, 4, 9, 9}, {0, 1, 0, 1, 1, 1}};
  const std::vector<const ScoredTokens*> examples = {&a, &b};
  const Batch batch = fill_instruction_batch(examples, 3, 4);
  const auto values = [](const Tensor& tensor) {
    return std::vector<int32_t>(tensor.data<int32_t>(), tensor.data<int32_t>() + tensor.shape().elements());
  };
  constexpr int32_t x = kIgnoreIndex;
  EXPECT_THAT(values(batch.tokens), ElementsAre(5, 6, 7, 8, 1, 2, 3, 4, 0, 0, 0, 0));
  EXPECT_THAT(values(batch.targets), ElementsAre(x, 7, 8, x, 2, x, 4, 9, x, x, x, x));
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
  const std::string empty = folder.write("empty.jsonl", "{\"prompt\": \"a\", \"response\": \"\"}");
  EXPECT_THAT(message_of(ExitCode::kData, [&] { read_instructions({empty}, *make_byte_tokenizer(), {}); }),
              AllOf(HasSubstr(empty), HasSubstr("no example"), HasSubstr("1 were left out")));
}

}  // namespace
}  // namespace tsugi
