"""Chat templates and small pieces of their language, with what `transformers` makes of them.

    python tests/golden/make_template_fixtures.py          writes tests/golden/templates/cases.jsonl
    python tests/golden/make_template_fixtures.py FILE...  prints such cases of other templates, one a file

The templates are our own: minimal ones with the constructs that the families' templates use.
"""
import datetime
import json
import pathlib
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template

NOW = 1784592000  # 2026-07-21 00:00:00 UTC

TEMPLATES = {
    "chatml": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
Be brief.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}""",
    "llama2": """{%- if messages[0]['role'] == 'system' -%}
    {%- set turns = messages[1:] -%}
    {%- set intro = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' -%}
{%- else -%}
    {%- set turns = messages -%}
    {%- set intro = false -%}
{%- endif -%}
{%- for turn in turns -%}
    {%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('users and assistants must take turns') }}
    {%- endif -%}
    {%- set content = intro ~ turn['content'] if loop.index0 == 0 and intro != false else turn['content'] -%}
    {%- if turn['role'] == 'user' -%}
        {{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
    {%- elif turn['role'] == 'assistant' -%}
        {{ ' ' + content | trim + ' ' + eos_token }}
    {%- endif -%}
{%- endfor -%}""",
    "llama3": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") if strftime_now is defined else "1 Jan 2024" %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today: " + date_string + "\\n" }}
{%- if tools is not none %}
    {{- "Functions:\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}{{- raise_exception("one call at a time") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}{{- tool_call.arguments | tojson }}{{- "}" }}
        {{- "<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "mistral": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is defined and tools is not none and (message == user_messages[-1]) %}
            {{- "[TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}
                    {%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}{%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- endif %}
{%- endfor %}
""",
    "qwen2": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] }}{%- else %}{{- 'You help.' }}{%- endif %}
    {{- "\\n\\n# Tools\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}{{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
""",
    "gemma": """{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}{%- set prefix = messages[0]['content'] + '

' -%}{%- else -%}{%- set prefix = messages[0]['content'][0]['text'] + '

' -%}{%- endif -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}{%- set rest = messages -%}
{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'assistant') -%}{%- set role = "model" -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{'<start_of_turn>model
'}}{%- endif -%}
""",
    "deepseek": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=true, is_tool=false, prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first %}{% set ns.prompt = ns.prompt + message['content'] %}{% set ns.is_first = false %}{%- else %}{% set ns.prompt = ns.prompt + '

' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.prompt }}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<|User|>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<|Assistant|>' + content.lstrip('\\n') + eos_token}}{%- endif %}{%- endfor -%}{% if add_generation_prompt and not ns.is_tool %}{{'<|Assistant|>'}}{% endif %}""",
    "mixtral": """{{ bos_token }}{% for message in messages if message['role'] in ['user', 'assistant'] %}
{% if message['role'] == 'user' %}
{{ ' [INST] ' ~ message['content'] ~ ' [/INST]' }}
{% else %}
{% generation %}{{ ' ' ~ message['content'] ~ eos_token }}{% endgeneration %}
{% endif %}
{% else %}
nothing said
{% endfor %}""",
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
""",
    "macros": """{%- macro kind(of, many=false) -%}
    {%- if of.type == 'array' -%}list of {{ kind(of['items']) }}{%- elif of is defined and 'enum' in of -%}{{ of.enum | join(' | ') }}
    {%- else -%}{{ of.type | default('any') }}{%- endif -%}{{ 's' if many }}
{%- endmacro -%}
{%- for tool in tools or [] -%}
{{ loop.index }}/{{ loop.length }} {{ tool.function.name }}({% for name, of in tool.function.parameters.properties | dictsort -%}
{{ name }}: {{ kind(of) }}{{ '?' if name not in tool.function.parameters.required }}{{ ', ' if not loop.last }}
{%- endfor %})
{% endfor -%}
{{ kind({'type': 'number'}, many=true) }}""",
}

TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Weather at a place; \"now\" <only> & 날씨",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]},
            "days": {"type": "array", "items": {"type": "integer"}}}, "required": ["place"]}}},
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}, "required": []}}},
]
CHATS = {
    "one": {"messages": [{"role": "user", "content": " What is the sea? "}], "add_generation_prompt": True},
    "system": {"messages": [{"role": "system", "content": "Answer in Korean.\n"}, {"role": "user", "content": "바다는?"},
        {"role": "assistant", "content": "물.</think>\n 많은 물. "}, {"role": "user", "content": "또?\n"}], "add_generation_prompt": True},
    "closed": {"messages": [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}], "add_generation_prompt": False},
    "tools": {"messages": [{"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"place": "Jeju", "days": [1, 2.5, None, True]}}}]},
        {"role": "tool", "content": "{\"t\": 21}"}, {"role": "tool", "content": "windy"}, {"role": "assistant", "content": "Mild."}], "tools": TOOLS, "add_generation_prompt": True},
    "parts": {"messages": [{"role": "system", "content": [{"type": "text", "text": "Look."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " here "}]}], "add_generation_prompt": True},
    "wrong turns": {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "add_generation_prompt": True},
    "none": {"messages": [], "add_generation_prompt": False},
}

PIECES = r"""
{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.0 }} {{ 1e20 }} {{ 1.5e-7 }} {{ 0.1 + 0.2 }} {{ 100000.0 * 1000000000000 }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.0 }} {{ 'ab' * 3 }} {{ [1, 2] + [3] }} {{ (1,) + (2, 3) }} {{ -3 | abs }} {{ 2 - -1 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' in 'cat' }} {{ 'x' not in ['y'] }} {{ 1 == 1.0 }} {{ '1' == 1 }} {{ true == 1 }} {{ none == none }} {{ [1, 'a'] == [1, 'a'] }} {{ {'a': 1} == {'a': 1} }} {{ (1, 2) == [1, 2] }}
{{ 'yes' if x is defined else 'no' }} {{ x }}|{{ x | default('d') }}|{{ '' | default('e', true) }}|{{ none | default('f') }}|{{ 'a' if false }}|
{{ not true or true and false }} {{ not not x }} {{ 0 or 'a' }} {{ 1 and '' }} {{ [] or {} }}
{{ [1, 2, 3, 4][1:] }} {{ [1, 2, 3, 4][:-1] }} {{ [1, 2, 3, 4][::-1] }} {{ 'abcdef'[1:4:2] }} {{ '한국어'[-1] }} {{ [1, 2, 3][5:] }} {{ 'abc'[-2:] }} {{ [1, 2][::2] }} {{ [3, 4][9] is defined }} {{ 'abc'[::-2] }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a-b-c'.split('-', 1) }} {{ 'a-b-c'.rsplit('-', 1) }} {{ 'x y z'.split(' ')[0] }} {{ ' a b  c '.split(none, 1) }} {{ 'l1\nl2\r\nl3\n'.splitlines() }}
{{ '  ab '.strip() }}|{{ '  ab '.lstrip() }}|{{ '  ab '.rstrip() }}|{{ 'xxabx'.strip('x') }}|{{ '한글한'.strip('한') }}|{{ '\t\u3000a\u00a0' | trim }}|
{{ 'Ab'.upper() }} {{ 'Ab' | lower }} {{ 'hello wORLD' | title }} {{ 'hello wORLD'.title() }} {{ 'ÉCOLE' | capitalize }} {{ "it's-a (test)" | title }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.replace('b', 'BB') }} {{ 'aaa' | replace('a', 'b', 2) }} {{ 'aaa'.replace('a', '', 1) }} {{ 'abc'.find('c') }} {{ 'abc'.find('z') }} {{ 'abcabc'.count('bc') }} {{ 'ab'.replace('', '-') }} {{ 'aXbX'.removesuffix('X') }}
{{ ['a', 'b'] | join(', ') }} {{ [1, none, true] | join }} {{ '-'.join(['x', 'y']) }} {{ [{'n': 1}, {'n': 2}] | join('+', attribute='n') }} {{ 'abc' | join('.') }}
{{ [1, 2, 3] | length }} {{ '한국' | length }} {{ {'a': 1} | length }} {{ [3, 1, 2] | sort }} {{ ['b', 'A'] | sort }} {{ [3, 1] | sort(reverse=true) }} {{ [1, 2] | reverse | list }} {{ 'abc' | reverse }} {{ [1, 1, 2] | unique | list }} {{ [1, 5, 2] | max }} {{ [4, 5] | min }} {{ [1, 2] | sum }} {{ 'b' | first }} {{ [1, 2] | last }}
{{ {'b': 1, 'a': [1, {'c': none}]} | tojson }} {{ 'a"\n\\한\x01/<b>' | tojson }} {{ [] | tojson }} {{ {} | tojson(indent=2) }} {{ {'b': [1, 2], 'a': {}} | tojson(indent=2) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ {'한': 1.0} | tojson(ensure_ascii=true) }} {{ [1, 2] | tojson(separators=(',', ':')) }} {{ 1e100 | tojson }}
{{ ['a', "it's", 'b"c', 'x\ny'] }} {{ {'a': (1,), 'b': none} }} {{ ('x', 1.5) }} {{ [true, [none]] | string }} {{ () }} {{ {} }}
{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }}{{ ';' if not loop.last }}{% endfor %} {% for k in {'a': 1} %}{{ k }}{% endfor %} {{ {'a': 1}.keys() | list }} {{ {'a': 1}.values() | list }} {{ {'a': 1}.get('b', 'z') }} {{ {'a': 1}.get('b') }} {{ {'a': {'b': 7}}.a.b }} {{ {'a': [5]}.a.0 }}
{% for i in range(3) %}{{ loop.index }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.previtem | default('-') }}{{ loop.nextitem | default('-') }}{{ loop.cycle('x', 'y') }} {% else %}none{% endfor %}{% for i in [] %}{% else %}empty{% endfor %}{% for i in range(10, 4, -3) %}{{ i }},{% endfor %}
{% for i in range(10) if i is odd %}{% if i == 5 %}{% continue %}{% endif %}{% if i > 7 %}{% break %}{% endif %}{{ i }}/{{ loop.length }} {% endfor %}
{% set a, b = 1, 2 %}{{ a + b }}{% set ns = namespace(x=0, y='q') %}{% for i in [1, 2, 3] %}{% set ns.x = ns.x + i %}{% set a = 9 %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ a }}{% set t %}<b>{{ a }}</b>{% endset %}{{ t }}{% set u | upper %}low{% endset %}{{ u }}
{% macro m(a, b='B', c=none) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m('x', c=3) }}{{ m(b=1, a=2) | length }}{{ m() }}
{% with x = 5, y = 6 %}{{ x * y }}{% endwith %}{{ x }}{% filter upper | trim %} loud {% endfilter %}{% raw %}{{ not }} {% this %}{% endraw %}
{{ [{'r': 'u', 'n': 1}, {'r': 'a', 'n': 2}, {'r': 'u'}] | selectattr('r', 'equalto', 'u') | list | length }} {{ [1, 2, 3] | select('odd') | list }} {{ [0, 1] | select | list }} {{ [1, 2] | reject('eq', 1) | list }} {{ [{'a': 1}, {}] | map(attribute='a', default='-') | list }} {{ ['a'] | map('upper') | first }} {{ [{'a': 1}, {'b': 2}] | selectattr('a', 'defined') | list }} {{ [{'a': 1}] | rejectattr('a') | list }}
{{ 'x' is string }} {{ 1 is number }} {{ true is number }} {{ 1 is integer }} {{ true is integer }} {{ 1.5 is float }} {{ none is none }} {{ {} is mapping }} {{ 'a' is iterable }} {{ 1 is iterable }} {{ [] is sequence }} {{ 4 is divisibleby 2 }} {{ 4 is even }} {{ x is undefined }} {{ 1 is not none }} {{ true is true }} {{ 0 is false }} {{ 3 is in [1, 3] }} {{ 'A' is upper }} {{ 2 is gt 1 }} {{ 1 is sameas 1 }} {{ false is boolean }}
{{ 3.7 | int }} {{ '42' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ '2.5' | float }} {{ 2.567 | round(2) }} {{ 2.5 | round }} {{ 2.1 | round(0, 'ceil') }} {{ 5 | string + '!' }} {{ 'abc' | list }} {{ {'b': 2, 'a': 1} | dictsort }} {{ {'b': 1, 'a': 2} | dictsort(by='value') }} {{ {'a': 1} | items | list }}
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a' "b" 'c' }} {{ 'é\x41\u00e9\101\q' }} {{ "\"" }} {{ '\'' }} {{ 1_000 }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %A %a %B %b %j %y %p %I %%') }} {{ strftime_now('%d %b %Y') }}
A{#- c -#}  B {# d #}
  {% if true %}
 inner
  {%- if true %} x {%- endif +%}
y
    {%+ if true %}z{% endif %}
{{ 'v' }}
w  {{- 'u' -}}   t
{# a comment with {{ braces }} #}
   {% set q = 1 %}   tail {% if true -%}

 s {% endif %}
end

{{ {'a': {'b': '}}'}}['a']['b'] }}{{ '%}' }}{{ {'x': {'y': 1}} }}
{% if none %}a{% elif 0 %}b{% elif 'c' %}c{% else %}d{% endif %}{% if [] %}{% elif {} %}{% else %}e{% endif %}
{{ dict(a=1, b='x') }} {{ dict({'a': 1}, c=2).c }} {{ loop is defined }} {{ range(5) | list | length }} {{ namespace(a=3).a }}
{{ "\U0001F600" | length }} {{ 'ẞß' | lower }} {{ '123'.isdigit() }} {{ ''.isalpha() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ 9223372036854775807 }} {{ -0.0 }} {{ 1e16 }} {{ 123456789012345.6 }} {{ 1/3 }}
{{ raise_exception('no ' ~ 1) }}
{{ x.y }}
{{ x + 1 }}
{{ 'a' + 1 }}
{{ 1 / 0 }}
{{ [1] < ['a'] }}
{{ none.x is defined }} {{ none.x }} {{ [].x is defined }} {{ 'a'.nothing is defined }}
{{ x() }}
{{ 1 | nofilter }}
{{ 1 is notest }}
{{ (1 }}
{{ 'a }}
{% for %}
{% if true %}
{% endfor %}
{% include 'x' %}
{% break %}
{{ ''.__class__ }} {{ ''.__class__.__mro__ }}
{{ range(1000000) }}
{% set x.y = 1 %}
{% set a, b = [1] %}
{{ [1, 2] | nosuch }}
{{ {1: 'a', none: 2}[1] }} {{ {1: 'a'} }} {{ [1, 2].index(2) }} {{ (1, 2, 1).count(1) }}
{{ 5[0] is defined }}
""".strip("\n")


def pieces():
    """One a line, but a piece with layout of its own goes on up to an empty line."""
    lines, at = PIECES.split("\n"), 0
    while at < len(lines):
        if lines[at].startswith("A{#-"):
            end = lines.index("end", at) + 2
            yield "\n".join(lines[at:end])
            at = end
        else:
            yield lines[at]
            at += 1


def render(text, variables):
    compiled = _compile_jinja_template(text)
    compiled.environment.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(form)
    return compiled.render(**variables)


def case(name, text, variables):
    result = {"name": name, "template": text, "variables": variables}
    try:
        result["text"] = render(text, variables)
    except Exception as error:  # whatever it is: Dure must refuse too
        result["error"] = type(error).__name__ + ": " + str(error)
    return result


def chats(name, text):
    for chat, variables in CHATS.items():
        yield case(f"{name}, {chat}", text, dict(variables, bos_token="<s>", eos_token="</s>"))


def main():
    if len(sys.argv) > 1:
        for path in sys.argv[1:]:
            for one in chats(path, open(path).read()):
                print(json.dumps(one, ensure_ascii=False))
        return
    cases = [one for name, text in TEMPLATES.items() for one in chats(name, text)]
    cases += [case(f"piece {i}", text, {"messages": []}) for i, text in enumerate(pieces())]
    target = pathlib.Path(__file__).parent / "templates" / "cases.jsonl"
    target.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in cases))
    print(f"{len(cases)} cases, {sum('error' in one for one in cases)} of them refused")


if __name__ == "__main__":
    main()
