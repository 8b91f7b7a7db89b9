#include "launch/corpus/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "core/data/json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// A paragraph of 250 characters that no other call returns.
std::string paragraph(const std::string& about) { return about + std::string(250 - about.size(), '.'); }

/// `chapters` chapters of six sections with `per_section` paragraphs each.
Book book(const std::string& language, int chapters, int per_section) {
  Book out{language, {}};
  for (int c = 1; c <= chapters; ++c) {
    Chapter chapter{"chapter" + std::to_string(c), "Title " + std::to_string(c), {}};
    for (int s = 1; s <= 6; ++s) {
      Section section{std::to_string(c) + "." + std::to_string(s) + ". Section", {}};
      for (int p = 1; p <= per_section; ++p) {
        std::ostringstream name;
        name << language << " chapter " << c << " section " << s << " paragraph " << p << ' ';
        section.paragraphs.push_back({paragraph(name.str()), false});
      }
      chapter.sections.push_back(std::move(section));
    }
    out.chapters.push_back(std::move(chapter));
  }
  return out;
}

std::string whole(const std::vector<CorpusFile>& split) {
  std::string out;
  for (const CorpusFile& file : split) {
    for (const std::string& document : file.documents) out += document;
  }
  return out;
}

size_t occurrences(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++count;
  return count;
}

const CorpusOptions kSmall{.validation_every = 3, .classes = 4, .train_per_class = 5, .validation_per_class = 6};

TEST(Corpus, SplitsByChapterInEveryLanguage) {
  const Corpus corpus = make_corpus({book("en", 7, 3), book("ja", 7, 3)}, kSmall);
  std::vector<std::string> names;
  for (const CorpusFile& file : corpus.validation) names.push_back(file.name);
  EXPECT_THAT(names, ::testing::ElementsAre("en.03-chapter3.txt", "en.06-chapter6.txt", "ja.03-chapter3.txt",
                                            "ja.06-chapter6.txt"));
  EXPECT_EQ(corpus.train.size(), 10u);
  EXPECT_THAT(whole(corpus.train), Not(HasSubstr("chapter 3")));
  EXPECT_THAT(whole(corpus.validation), HasSubstr("ja chapter 3 section 1"));
}

TEST(Corpus, TheTaskIsBalancedAndSplitBySection) {
  const Book english = book("en", 7, 3);
  const Corpus corpus = make_corpus({english}, kSmall);
  EXPECT_EQ(corpus.labels.size(), 4u);
  EXPECT_EQ(corpus.task_train.size(), 4u * 5);
  EXPECT_EQ(corpus.task_validation.size(), 4u * 6);

  std::map<std::string, std::pair<std::string, int>> where;  // text -> label, section
  for (const Chapter& chapter : english.chapters) {
    for (size_t s = 0; s < chapter.sections.size(); ++s) {
      for (const Paragraph& one : chapter.sections[s].paragraphs)
        where[one.text] = {chapter.title, static_cast<int>(s)};
    }
  }
  std::set<std::pair<std::string, int>> train_sections;
  std::map<std::string, int> counts;
  for (const Example& example : corpus.task_train) {
    EXPECT_EQ(where.at(example.text).first, example.label);
    train_sections.insert(where.at(example.text));
    ++counts[example.label];
  }
  for (const auto& [label, count] : counts) EXPECT_EQ(count, 5) << label;
  std::set<std::pair<std::string, int>> validation_sections;
  const std::string text = whole(corpus.train) + whole(corpus.validation);
  for (const Example& example : corpus.task_validation) {
    EXPECT_EQ(where.at(example.text).first, example.label);
    EXPECT_FALSE(train_sections.contains(where.at(example.text))) << example.text;
    EXPECT_THAT(text, Not(HasSubstr(example.text)));
    validation_sections.insert(where.at(example.text));
  }
  EXPECT_EQ(corpus.held_out_sections, static_cast<int64_t>(validation_sections.size()));
  // The first examples are one of each class.
  std::set<std::string> first;
  for (size_t i = 0; i < 4; ++i) first.insert(corpus.task_train[i].label);
  EXPECT_EQ(first.size(), 4u);
}

TEST(Corpus, TakesTheChaptersWithMostParagraphs) {
  Book english = book("en", 7, 1);
  for (const size_t c : {1u, 4u}) english.chapters[c] = book("en", 7, 9).chapters[c];
  CorpusOptions options = kSmall;
  options.classes = 2;
  EXPECT_THAT(make_corpus({english}, options).labels, ::testing::ElementsAre("Title 2", "Title 5"));
}

TEST(Corpus, TheTaskLeavesOutWhatDoesNotFit) {
  Book english = book("en", 7, 3);
  const std::string twice = paragraph("twice");
  for (Chapter& chapter : english.chapters) {
    for (Section& section : chapter.sections) {
      section.paragraphs.push_back({twice, false});
      section.paragraphs.push_back({paragraph("code " + chapter.name + section.title), true});
      section.paragraphs.push_back({std::string(601, 'x'), false});
      section.paragraphs.push_back({std::string(199, 'x'), false});
    }
  }
  // 210 code points, 630 bytes: it fits.
  std::string japanese;
  for (int i = 0; i < 210; ++i) japanese += "漢";
  for (Section& section : english.chapters[0].sections) section.paragraphs = {{japanese + section.title, false}};
  CorpusOptions options = kSmall;
  options.classes = 7;
  const Corpus corpus = make_corpus({english}, options);
  EXPECT_EQ(corpus.labels.front(), "Title 1");
  for (const auto* split : {&corpus.task_train, &corpus.task_validation}) {
    for (const Example& example : *split) {
      EXPECT_THAT(example.text, ::testing::AnyOf(HasSubstr("en chapter"), HasSubstr("漢")));
    }
  }
}

TEST(Corpus, WritesRepeatedParagraphsOnce) {
  Book english = book("en", 7, 3);
  Book japanese = book("ja", 7, 3);
  const std::string untranslated = paragraph("untranslated");
  const std::string measured = paragraph("stands in a validation chapter");
  const std::string code = paragraph("the same code");
  for (Book* one : {&english, &japanese}) {
    one->chapters[0].sections[0].paragraphs.push_back({"TIP", false});
    one->chapters[0].sections[0].paragraphs.push_back({code, true});
    one->chapters[0].sections[1].paragraphs.push_back({untranslated, false});
    one->chapters[1].sections[1].paragraphs.push_back({measured, false});
    one->chapters[1].sections[2].paragraphs.push_back({measured, true});
  }
  japanese.chapters[2].sections[0].paragraphs.push_back({measured, false});
  CorpusOptions options = kSmall;
  options.classes = 2;
  // The task is made of other chapters, so that it holds none of these sections out.
  for (const size_t c : {3u, 4u}) english.chapters[c] = book("en", 7, 9).chapters[c];
  const Corpus corpus = make_corpus({english, japanese}, options);
  const std::string train = whole(corpus.train);
  EXPECT_EQ(occurrences(train, "TIP"), 2u);
  EXPECT_EQ(occurrences(train, code), 2u);
  EXPECT_EQ(occurrences(train, untranslated), 1u);
  EXPECT_EQ(occurrences(train, measured), 0u);
  EXPECT_EQ(occurrences(whole(corpus.validation), measured), 1u);
  EXPECT_EQ(corpus.repeated_paragraphs, 5);
}

TEST(Corpus, SaysWhenABookIsTooSmall) {
  EXPECT_THROW(make_corpus({book("en", 2, 3)}, kSmall), Error);  // no third chapter to validate on
  try {
    make_corpus({book("en", 7, 0)}, kSmall);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    EXPECT_THAT(error.what(), HasSubstr("en: fewer than two chapters"));
  }
}

TEST(Corpus, WritesFilesThatReadBack) {
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "tsugi_corpus_test";
  std::filesystem::remove_all(folder);
  Book english = book("en", 7, 3);
  for (Section& section : english.chapters[0].sections) section.paragraphs[0].text += "\"quoted\" \\ 漢";
  const Corpus corpus = make_corpus({english}, kSmall);
  write_corpus(corpus, folder);
  EXPECT_FALSE(std::filesystem::exists(folder.string() + ".partial"));

  std::ifstream lines(folder / "task" / "train.jsonl");
  std::string line;
  size_t count = 0;
  for (; std::getline(lines, line); ++count) {
    const JsonValue value = parse_json(line, "train.jsonl");
    EXPECT_EQ(value.require_string("text"), corpus.task_train.at(count).text);
    EXPECT_EQ(value.require_string("label"), corpus.task_train.at(count).label);
  }
  EXPECT_EQ(count, corpus.task_train.size());

  std::ostringstream text;
  text << std::ifstream(folder / "train" / corpus.train[0].name).rdbuf();
  EXPECT_EQ(occurrences(text.str(), "\n\f\n"), corpus.train[0].documents.size() - 1);
  EXPECT_TRUE(text.str().ends_with(corpus.train[0].documents.back()));
  EXPECT_THROW(write_corpus(corpus, folder), Error);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace tsugi
