// A function in C#, run by Mono as any executable is: event on stdin, result on
// stdout, log on stderr. Build it, then call it:
//   examples/hello-csharp/build
//   fnrun invoke examples/hello-csharp --event '{"name":"Ada"}'
// Larger functions use a JSON library. This one looks for the first "name": "..."
// and passes the string on as it is written, escapes included.
using System;
using System.IO;
using System.Text;
using System.Text.RegularExpressions;

static class Hello
{
    static readonly Regex Name = new Regex("\"name\"\\s*:\\s*\"((?:[^\"\\\\]|\\\\.)+)\"");

    static int Main()
    {
        var utf8 = new UTF8Encoding(false);
        string json = new StreamReader(Console.OpenStandardInput(), utf8).ReadToEnd();
        Match found = Name.Match(json);
        string name = found.Success ? found.Groups[1].Value : "World";
        Console.Error.WriteLine("greeting " + (found.Success ? name : "nobody"));
        using (var result = new StreamWriter(Console.OpenStandardOutput(), utf8))
            result.Write("{\"message\": \"Hello, " + name + "!\"}");
        return 0;
    }
}
