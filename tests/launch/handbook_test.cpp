#include "launch/corpus/handbook.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "launch/corpus/html.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> texts(const Section& section) {
  std::vector<std::string> out;
  for (const Paragraph& paragraph : section.paragraphs) out.push_back((paragraph.code ? "code:" : "") + paragraph.text);
  return out;
}

/// The paragraphs of a page that is a single section.
std::vector<std::string> paragraphs(std::string_view html) {
  const Page page = parse_page(html);
  EXPECT_LE(page.sections.size(), 1u) << html;
  return page.sections.empty() ? std::vector<std::string>{} : texts(page.sections[0]);
}

TEST(Html, DecodesEntities) {
  EXPECT_EQ(decode_entities("a &lt; b &amp;&amp; c &gt; &quot;d&quot; &apos;"), "a < b && c > \"d\" '");
  EXPECT_EQ(decode_entities("&eacute;&#233;&#xE9;&#Xe9; &hellip; &thetasym; &#x1F600;"), "éééé … ϑ \U0001F600");
  // Once only: what comes out is not read again.
  EXPECT_EQ(decode_entities("&amp;lt;"), "&lt;");
}

TEST(Html, LeavesWhatIsNoEntity) {
  for (const std::string text :
       {"AT&T", "a & b; c", "&unknown;", "&", "&;", "&#;", "&#x;", "&#xg;", "&#12a;", "&amp"}) {
    EXPECT_EQ(decode_entities(text), text);
  }
}

TEST(Html, ReferencesToNoCharacterBecomeTheReplacement) {
  for (const std::string text : {"&#0;", "&#xD800;", "&#x110000;", "&#4294967361;"}) {
    EXPECT_EQ(decode_entities(text), "\uFFFD") << text;
  }
}

TEST(Html, ReadsAttributes) {
  const auto tokens = read_html("<A HREF='x.html?a&amp;b' class=\"one two\" checked data-n=3 / >t</a >");
  ASSERT_EQ(tokens.size(), 3u);
  EXPECT_EQ(tokens[0].name, "a");
  EXPECT_EQ(tokens[0].attribute("href"), "x.html?a&b");
  EXPECT_EQ(tokens[0].attribute("data-n"), "3");
  EXPECT_TRUE(tokens[0].has_class("two"));
  EXPECT_FALSE(tokens[0].has_class("tw"));
  EXPECT_EQ(tokens[1].text, "t");
  EXPECT_EQ(tokens[2].kind, HtmlToken::Kind::kClose);
}

TEST(Html, EndsOnEveryPrefixOfAPage) {
  const std::string page =
      "<?xml version='1.0'?><!DOCTYPE html><html><head><title>T</title><script>if (a < b) '</x>'</script></head><body "
      "class=c =d e = 'f'><!-- <p>no</p> --><h1 id=\"i\">One &amp; two</h1><p>x < y<br/><![CDATA[<raw>]]></p></body>";
  for (size_t length = 0; length <= page.size(); ++length) {
    const Page read = parse_page(std::string_view(page).substr(0, length));
    EXPECT_THAT(read.chapter, ::testing::AnyOf("", ::testing::StartsWith("O"))) << length;
  }
  EXPECT_THAT(paragraphs(page), ElementsAre("x < y <raw>"));
}

// The structure of a page by Publican 4.3.
constexpr std::string_view kPage = R"(<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd"><html
xmlns="http://www.w3.org/1999/xhtml"><head><title xmlns:d="x">6.2. The <apt> Commands</title><link rel="up"
href="apt.html#top" title="Chapter 6"/><link rel="next" href="sect.two.html"/></head><body><div id="banner"><a
href="x">Download the ebook</a></div><ul class="docnav top"><li class="previous"><ul><li>Prev</li></ul></li><li>Handbook</li></ul>
<div class="section"><div class="titlepage"><div><div><h2 class="title"><a id="a"></a>6.2. The <code>apt</code> Commands</h2></div></div></div>
<a id="id-1" class="indexterm"></a><div class="para">
			First   paragraph,
			with <em>white</em>&#160;space.
		</div><div class="itemizedlist"><ul><li class="listitem"><div class="para">
				one
			</div></li><li class="listitem"><p>two</p><p>still two</p></li></ul></div>
<pre class="screen"><code>$ </code><strong>cd   /tmp</strong>
	ls &amp;&amp; exit

</pre><div class="section"><h3 class="title">6.2.1. Deeper</h3><div class="para">Text<div class="url">→ <a>http://x</a></div> goes on.</div></div>
<div class="section"><h3>6.2.2. Empty</h3></div></div><ul class="docnav"><li class="next">Next</li></ul></body></html>)";

TEST(Handbook, ReadsAPageOfPublican) {
  const Page page = parse_page(kPage);
  EXPECT_EQ(page.title, "6.2. The Commands");
  EXPECT_EQ(page.up, "apt.html");
  EXPECT_EQ(page.next, "sect.two.html");
  EXPECT_EQ(page.chapter, "");
  ASSERT_EQ(page.sections.size(), 2u);
  EXPECT_EQ(page.sections[0].title, "6.2. The apt Commands");
  EXPECT_THAT(texts(page.sections[0]), ElementsAre("First paragraph, with white space.", "- one", "- two", "still two",
                                                   "code:$ cd   /tmp\n        ls && exit"));
  EXPECT_EQ(page.sections[1].title, "6.2.1. Deeper");
  EXPECT_THAT(texts(page.sections[1]), ElementsAre("Text", "→ http://x", "goes on."));
  EXPECT_EQ(page.sections[1].text(), "6.2.1. Deeper\n\nText\n\n→ http://x\n\ngoes on.\n");
}

TEST(Handbook, DropsWhatIsNotText) {
  EXPECT_THAT(paragraphs("<p>a</p><nav>n<p>n</p></nav><script>s('<p>')</script><style>p{}</style><p>b</p>"
                         "<div class='toc'><dl><dt>t</dt></dl></div><div class='book'>cover</div><footer>f</footer>"),
              ElementsAre("a", "b"));
  EXPECT_THAT(paragraphs("<p>zero\u200Bwidth soft\u00ADhyphen bell\x07 feed\fend</p>"),
              ElementsAre("zerowidth softhyphen bell feed end"));
}

TEST(Handbook, ReadsTablesAndBreaks) {
  EXPECT_THAT(paragraphs("<table><tr><th>Name</th><th>Use</th></tr><tr><td>apt<td><b>install</b></table>a<br>b"),
              ElementsAre("Name | Use", "apt | install", "a b"));
}

TEST(Handbook, SurvivesMalformedPages) {
  // Elements left open, closed twice, closed in the wrong order, or never opened.
  EXPECT_THAT(paragraphs("<p>one<p>two</p></p></div><ul><li>three<li>four</ul>five"),
              ElementsAre("one", "two", "- three", "- four", "five"));
  EXPECT_THAT(paragraphs("<div><nav><ul><li>menu</div>text"), ElementsAre("text"));
  EXPECT_THAT(paragraphs("<b><i>over</b>lap</i> <p>a < b and c<d"), ElementsAre("overlap", "a < b and c"));
  EXPECT_THAT(paragraphs("<h2></h2><p>no title</p><li></li><p>no bullet"), ElementsAre("no title", "no bullet"));
  EXPECT_THAT(paragraphs("<pre>\n\n  code\n\n"), ElementsAre("code:  code"));
  EXPECT_THAT(paragraphs(""), IsEmpty());
  EXPECT_THAT(paragraphs("<<<>>></ ></"), ElementsAre("<<<>>></ ></"));
  const Page page = parse_page("<title>T</title>lead<h1>One<p>a</p><h2>Two</h1><p>b");
  ASSERT_EQ(page.sections.size(), 3u);
  EXPECT_EQ(page.sections[0].title, "T");
  EXPECT_EQ(page.chapter, "One");
  EXPECT_THAT(texts(page.sections[2]), ElementsAre("b"));
}

TEST(Handbook, DeepNestingIsLinear) {
  std::string html;
  for (int i = 0; i < 200000; ++i) html += "<div><b>";
  for (int i = 0; i < 200000; ++i) html += "</i></span>";
  EXPECT_THAT(paragraphs(html + "end"), ElementsAre("end"));
}

TEST(Handbook, StripsNumbersOfTitles) {
  EXPECT_EQ(without_number("Chapter 6. Maintenance: The APT Tools"), "Maintenance: The APT Tools");
  EXPECT_EQ(without_number("Appendix A. Derivative Distributions"), "Derivative Distributions");
  EXPECT_EQ(without_number("6.2.1. Initialization"), "Initialization");
  for (const std::string title : {"Preface", "One Two 3. Four", "e.g. this", "No. Not at all"}) {
    EXPECT_EQ(without_number(title), title);
  }
}

class Book : public ::testing::Test {
 protected:
  Book()
      : folder_(std::filesystem::path(::testing::TempDir()) /
                (std::string("tsugi_book_") + ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~Book() override { std::filesystem::remove_all(folder_); }
  void page(const std::string& name, const std::string& html) { std::ofstream(folder_ / name) << html; }

  std::filesystem::path folder_;
};

TEST_F(Book, FollowsTheLinksThenTheNames) {
  page("index.html", "<link rel=next href=z.html><div class=book><h1>The Book</h1><p>Licence</div>");
  page("z.html", "<link rel=next href='a.html#top'><h1>Chapter 1. Zebra</h1><p>z");
  page("a.html", "<link rel=up href=z.html><link rel=next href=index.html><h2>1.2. Part of zebra</h2><p>a");
  page("loose.htm", "<title>Loose</title><p>l");
  page("b.html", "<h1>Chapter 2. Bear</h1><p>b");
  page("style.css", "p {}");
  const std::vector<Chapter> book = read_book(folder_);
  ASSERT_EQ(book.size(), 3u);
  EXPECT_EQ(book[0].name, "z");
  EXPECT_EQ(book[0].title, "Zebra");
  ASSERT_EQ(book[0].sections.size(), 2u);
  EXPECT_EQ(book[0].sections[1].title, "1.2. Part of zebra");
  EXPECT_EQ(book[1].title, "Bear");
  EXPECT_EQ(book[2].title, "Loose");
}

TEST_F(Book, NamesWhatIsWrong) {
  try {
    read_book(folder_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    EXPECT_THAT(error.what(), HasSubstr(folder_.string()));
  }
  page("latin.html", "<p>caf\xE9");
  try {
    read_book(folder_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::AllOf(HasSubstr("latin.html"), HasSubstr("byte 6")));
  }
  EXPECT_THROW(read_book(folder_ / "absent"), Error);
}

}  // namespace
}  // namespace tsugi
