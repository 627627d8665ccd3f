// A function in C#, run by Mono as any executable is: event on stdin, result on
// stdout, log on stderr. Build it, then call it:
//   examples/hello-csharp/build
//   fnrun invoke examples/hello-csharp --event '{"name":"Ada"}'
using System;
using System.IO;
using System.Runtime.Serialization;
using System.Runtime.Serialization.Json;
using System.Text;

[DataContract]
class Event
{
    [DataMember(Name = "name")]
    public string Name { get; set; }
}

[DataContract]
class Result
{
    [DataMember(Name = "message")]
    public string Message { get; set; }
}

static class Hello
{
    static int Main()
    {
        var input = new DataContractJsonSerializer(typeof(Event));
        var output = new DataContractJsonSerializer(typeof(Result));
        Event received;
        try
        {
            received = (Event)input.ReadObject(Console.OpenStandardInput());
        }
        catch (SerializationException error)
        {
            Console.Error.WriteLine("the event is not {\"name\": \"...\"}: " + error.Message);
            return 1;
        }
        string name = received == null || string.IsNullOrEmpty(received.Name) ? "World" : received.Name;
        Console.Error.WriteLine("greeting " + name);
        using (var result = Console.OpenStandardOutput())
            output.WriteObject(result, new Result { Message = "Hello, " + name + "!" });
        return 0;
    }
}
