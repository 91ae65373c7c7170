// Tables: what each element of a vocabulary is for the layout, and which names mark boilerplate.
//
// To support another vocabulary: add it to dure_vocabulary, its table here, and how to recognise its root in
// markup_xml.c. Rows may stand in any order; unlisted elements are inline (lines of their own in unknown XML).
#include "data/markup.h"

#include <string.h>
#include <strings.h>

#include "data/name_list.h"

typedef struct role_row {
  dure_role role;
  const char *names;  // separated by single spaces
} role_row;

static const role_row html_rows[] = {
    {DURE_ROLE_SKIP,
     "head title script style nav header footer aside noscript template svg math iframe object embed applet canvas "
     "audio "
     "video map select option button input textarea label dialog menu noframes rt rp datalist"},
    {DURE_ROLE_LINE, "div center form fieldset summary details figcaption figure dd address legend"},
    {DURE_ROLE_BLOCK, "section article blockquote hgroup caption"},
    {DURE_ROLE_MAIN, "main"},
    {DURE_ROLE_PARAGRAPH, "p"},
    {DURE_ROLE_HEADING, "h1 h2 h3 h4 h5 h6"},
    {DURE_ROLE_PREFORMATTED, "pre listing xmp plaintext"},
    {DURE_ROLE_LIST, "ul dir"},
    {DURE_ROLE_NUMBERED_LIST, "ol"},
    {DURE_ROLE_ITEM, "li"},
    {DURE_ROLE_DEFINITIONS, "dl"},
    {DURE_ROLE_TERM, "dt"},
    {DURE_ROLE_TABLE, "table"},
    {DURE_ROLE_ROW, "tr"},
    {DURE_ROLE_CELL, "td th"},
    {DURE_ROLE_BREAK, "br"},
    {DURE_ROLE_RULE, "hr"},
    {DURE_ROLE_LINK, "a"},
};

static const role_row mallard_rows[] = {
    {DURE_ROLE_SKIP, "info links media comment credit license mouseover"},
    {DURE_ROLE_BLOCK, "page section note example quote figure listing div"},
    {DURE_ROLE_PARAGRAPH, "p desc"},
    {DURE_ROLE_HEADING, "title subtitle"},
    {DURE_ROLE_PREFORMATTED, "screen synopsis"},
    {DURE_ROLE_CODE, "code"},
    {DURE_ROLE_LIST, "list tree"},
    {DURE_ROLE_NUMBERED_LIST, "steps"},
    {DURE_ROLE_ITEM, "item"},
    {DURE_ROLE_DEFINITIONS, "terms"},
    {DURE_ROLE_TABLE, "table"},
    {DURE_ROLE_ROW, "tr"},
    {DURE_ROLE_CELL, "td th"},
    {DURE_ROLE_LINK, "link"},
    {DURE_ROLE_KEYS, "keyseq"},
    {DURE_ROLE_MENU_PATH, "guiseq"},
};

static const role_row docbook_rows[] = {
    {DURE_ROLE_SKIP,
     "info bookinfo articleinfo chapterinfo appendixinfo prefaceinfo partinfo sectioninfo sect1info sect2info "
     "sect3info "
     "sect4info sect5info refentryinfo setinfo refmeta indexterm index toc lot footnote remark comment mediaobject "
     "inlinemediaobject screenshot graphic copyright legalnotice revhistory authorgroup author colspec"},
    {DURE_ROLE_BLOCK,
     "set book part article chapter appendix preface section sect1 sect2 sect3 sect4 sect5 simplesect refentry "
     "refnamediv refsect1 refsect2 refsect3 refsection glossary bibliography dedication note tip warning caution "
     "important example figure informalexample informalfigure sidebar blockquote epigraph qandaset qandaentry question "
     "answer formalpara cmdsynopsis"},
    {DURE_ROLE_PARAGRAPH, "para simpara attribution refpurpose"},
    {DURE_ROLE_HEADING, "title subtitle bridgehead refname"},
    {DURE_ROLE_PREFORMATTED, "programlisting screen literallayout synopsis funcsynopsis classsynopsis address"},
    {DURE_ROLE_LIST, "itemizedlist simplelist segmentedlist calloutlist"},
    {DURE_ROLE_NUMBERED_LIST, "orderedlist procedure substeps"},
    {DURE_ROLE_ITEM, "listitem step member callout"},
    {DURE_ROLE_DEFINITIONS, "variablelist glosslist"},
    {DURE_ROLE_DEFINITION, "varlistentry glossentry"},
    {DURE_ROLE_TERM, "term"},
    {DURE_ROLE_TABLE, "table informaltable"},
    {DURE_ROLE_ROW, "row tr"},
    {DURE_ROLE_CELL, "entry td th"},
    {DURE_ROLE_LINK, "ulink link xref"},
    {DURE_ROLE_KEYS, "keycombo"},
    {DURE_ROLE_MENU_PATH, "menuchoice"},
};

static const struct {
  const role_row *rows;
  size_t count;
  dure_role unlisted;
} vocabularies[] = {
    [DURE_HTML] = {html_rows, sizeof(html_rows) / sizeof(html_rows[0]), DURE_ROLE_INLINE},
    [DURE_MALLARD] = {mallard_rows, sizeof(mallard_rows) / sizeof(mallard_rows[0]), DURE_ROLE_INLINE},
    [DURE_DOCBOOK] = {docbook_rows, sizeof(docbook_rows) / sizeof(docbook_rows[0]), DURE_ROLE_INLINE},
    [DURE_OTHER_XML] = {docbook_rows, sizeof(docbook_rows) / sizeof(docbook_rows[0]), DURE_ROLE_LINE},
};

// Classes and ids, compared whole and without regard to case.
static const char boilerplate_names[] =
    // navigation
    "navheader navfooter navbar nav navigation topnav menu sidebar sphinxsidebar related breadcrumb breadcrumbs gnb "
    "lnb snb "
    "footer site-footer page-footer site-header page-header masthead toc toc_list toctree-wrapper table-of-contents "
    "headerlink skip-link skiplink skipnav skip_nav skip-nav printfooter pagination pager paging paginate sitemap "
    "search "
    "searchbox searchframe quickmenu quick_menu "
    // MediaWiki's
    "mw-editsection mw-jump-link mw-navigation mw-head mw-panel catlinks navbox siteSub contentSub noprint "
    // advertisements, sharing and other news
    "advert advertisement ads adsbygoogle ad-banner ad_banner ad-slot ad_slot ad-container ad_area ad-wrapper adsense "
    "sponsored social share sns sns_share sns-share sns_area share-buttons share_area social-share social-links "
    "addtoany "
    "related_news related-news related-posts related_posts related-articles related_article relatedposts newsletter "
    "newsletter-signup cookie-banner cookie-notice cookie-consent cookies donation donationframe "
    // for programs that read aloud
    "sr-only visually-hidden screen-reader-text";
static const char note_names[] = "footnote footnotes footnote-list admonition callout note";
static const char boilerplate_roles[] = "navigation banner contentinfo search menu menubar dialog complementary";

dure_role dure_markup_role(dure_vocabulary vocabulary, const char *name) {
  size_t length = strlen(name);
  for (size_t i = 0; i < vocabularies[vocabulary].count; i++) {
    const role_row *row = &vocabularies[vocabulary].rows[i];
    if (dure_name_is_listed(row->names, name, length)) return row->role;
  }
  return vocabularies[vocabulary].unlisted;
}

static bool has_listed_word(const char *list, const char *value) {
  for (const char *cursor = value; *cursor != '\0';) {
    size_t length = strcspn(cursor, " \t\r\n");
    if (length > 0 && dure_name_is_listed(list, cursor, length)) return true;
    cursor += length;
    while (*cursor != '\0' && strchr(" \t\r\n", *cursor) != NULL) cursor++;
  }
  return false;
}

bool dure_markup_is_note(const char *attribute, const char *value) {
  if (strcasecmp(attribute, "class") == 0) return has_listed_word(note_names, value);
  return strcasecmp(attribute, "role") == 0 && has_listed_word("note doc-footnote doc-endnotes doc-tip", value);
}

bool dure_markup_is_boilerplate(const char *attribute, const char *value) {
  if (strcasecmp(attribute, "hidden") == 0) return true;
  if (value == NULL) return false;
  if (strcasecmp(attribute, "class") == 0 || strcasecmp(attribute, "id") == 0) {
    return has_listed_word(boilerplate_names, value);
  }
  if (strcasecmp(attribute, "role") == 0) return has_listed_word(boilerplate_roles, value);
  if (strcasecmp(attribute, "aria-hidden") == 0) return strcasecmp(value, "true") == 0;
  return strcasecmp(attribute, "style") == 0 && strstr(value, "display:none") != NULL;
}
